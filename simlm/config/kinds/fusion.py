"""``fusion``: other systems' runs put together, by their ranks or their scores; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from simlm.config.kinds.base import ModelBlock, System
from simlm.config.kinds.roles import Fused


class Fusion(ModelBlock, Fused):
    """Several systems' runs as one: reciprocal rank fusion (Cormack et al., SIGIR 2009), or sums of standardised scores."""

    kind: Literal["fusion"]
    made_by: ClassVar[None] = None
    noun: ClassVar[str] = "rank fusion"
    mined: ClassVar[bool] = True
    of: list[str] = Field(min_length=2, description="Systems whose runs are fused.")
    by: Literal["ranks", "scores"] = Field(
        "ranks",
        description="What is added up: `ranks`, where a rank r counts 1 / (k + r); or `scores`, each list's less their mean and over their spread, which keep "
        "how sure a system is. Not for lists that are sorted by two measures, as a re-ranker's is below its depth.",
    )
    k: int = Field(60, ge=0, description="Constant of the formula for `by: ranks`.")
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
        return f"{weighted}{'scores' if self.by == 'scores' else 'reciprocal ranks'} of {' and '.join(self.of)}"

    def change(self, against: str, other: System, systems: Mapping[str, System]) -> str:
        return super().change(against, other, systems) if self.by == "scores" else f"reciprocal {super().change(against, other, systems)}"
