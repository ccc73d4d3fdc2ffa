"""``fusion``: reciprocal rank fusion of other systems' runs; nothing is trained."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from simlm.config.kinds.base import ModelBlock


class Fusion(ModelBlock):
    """Reciprocal rank fusion (Cormack et al., SIGIR 2009)."""

    kind: Literal["fusion"]
    made_by: ClassVar[None] = None
    runs_by: ClassVar[str] = "fuse"
    of: list[str] = Field(min_length=2, description="Systems whose runs are fused.")
    k: int = Field(60, ge=0, description="Constant of the formula: a rank r counts 1 / (k + r).")

    def reads_runs(self) -> dict[str, str]:
        return {f"of[{i}]": name for i, name in enumerate(self.of)}

    def accepts(self) -> dict[str, tuple[str, ...]]:
        return {f"of[{i}]": ("bm25", "biencoder", "crossencoder", "fusion") for i in range(len(self.of))}
