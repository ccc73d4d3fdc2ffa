"""``fusion``: reciprocal rank fusion of other systems' runs; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from simlm.config.kinds.base import ModelBlock, System
from simlm.config.kinds.roles import Fused


class Fusion(ModelBlock, Fused):
    """Reciprocal rank fusion (Cormack et al., SIGIR 2009)."""

    kind: Literal["fusion"]
    made_by: ClassVar[None] = None
    noun: ClassVar[str] = "rank fusion"
    of: list[str] = Field(min_length=2, description="Systems whose runs are fused.")
    k: int = Field(60, ge=0, description="Constant of the formula: a rank r counts 1 / (k + r).")

    def about(self) -> str:
        return f"reciprocal ranks of {' and '.join(self.of)}"

    def change(self, against: str, other: System, systems: Mapping[str, System]) -> str:
        return f"reciprocal {super().change(against, other, systems)}"
