"""``fusion``: reciprocal rank fusion of other systems' runs; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from simlm.config.kinds.base import ModelBlock, System
from simlm.config.kinds.roles import Fused


class Fusion(ModelBlock, Fused):
    """Reciprocal rank fusion (Cormack et al., SIGIR 2009)."""

    kind: Literal["fusion"]
    made_by: ClassVar[None] = None
    noun: ClassVar[str] = "rank fusion"
    mined: ClassVar[bool] = True
    of: list[str] = Field(min_length=2, description="Systems whose runs are fused.")
    k: int = Field(60, ge=0, description="Constant of the formula: a rank r counts 1 / (k + r).")
    weights: Literal["auto", "best"] | list[Annotated[float, Field(ge=0)]] | None = Field(
        None,
        description="How much each system of `of` counts: numbers, in that order; `auto`, what is best by the main metric on the training queries that no "
        "training behind the systems has seen (`holdout`); `best`, of these the choices of one system alone; null: all the same.",
        examples=["auto", [0.3, 0.7]],
    )

    @model_validator(mode="after")
    def _one_each(self) -> Fusion:
        if isinstance(self.weights, list) and (len(self.weights) != len(self.of) or not sum(self.weights)):
            raise ValueError(f"weights: give one number for each of the {len(self.of)} systems, and not only zeros")
        return self

    @property
    def learns(self) -> bool:
        return isinstance(self.weights, str)

    def about(self) -> str:
        if self.weights == "best":
            return f"the better of {' and '.join(self.of)}"
        weighted = {"auto": "weighted ", None: ""}.get(self.weights if not isinstance(self.weights, list) else None, "")
        return f"{weighted}reciprocal ranks of {' and '.join(self.of)}"

    def change(self, against: str, other: System, systems: Mapping[str, System]) -> str:
        return f"reciprocal {super().change(against, other, systems)}"
