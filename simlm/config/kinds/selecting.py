"""Which weights of a fine-tuning are exported: settings that retrievers and re-rankers have in common."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from simlm.config.base import Block

POOLED = (3, 15)
"""Fewest and most hard negatives per held-out query that decide which weights are exported; with fewer, the positives of all come first too easily."""


class SelectingSettings(Block):
    """The held-out training queries decide, never a judged split."""

    holdout: int = Field(
        200, ge=0, description="Training queries kept out (at most a tenth): their mean reciprocal rank is shown beside the curve, and `keep: best` goes by it."
    )
    keep: Literal["last", "best"] = Field(
        "last",
        description="Weights that are exported: the `last` ones, as in the paper, or the `best` on the held-out queries, with those of the start among them, "
        "so that nothing is exported that is worse there than what it started from.",
    )
    patience: int | None = Field(
        None, ge=1, description="With `keep: best`: the training ends after so many looks at the held-out queries without a better one; null: never early."
    )

    def pooled(self, hard_negatives: int) -> int:
        """Hard negatives per held-out query in what its positive is ranked among; ``hard_negatives`` are those of a step, 0 where none are mined."""
        least, most = POOLED
        return min(max(hard_negatives, least) if self.keep == "best" and self.reads_negatives() else hard_negatives, most)
