"""Exact late interaction: MaxSim of every query with every passage, over vectors that lie in shards.

For as many passages as fit into memory beside each other nothing is approximated; an index that finds candidates first would come
beside this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from simlm.config.embedding import Index as Settings
from simlm.indexes.base import Place
from simlm.indexes.from_shards import describe
from simlm.indexes.keys import NOTHING, keys_of, results_of
from simlm.vectors.shards import Shards
from simlm.vectors.vectors import Vectors

NUMBERS = 2**26
"""Similarities of tokens in memory at once, unless those of a single query with a block are more."""


def maxsim(queries: Vectors, passages: Vectors) -> np.ndarray:
    """:data:`simlm.scoring.maxsim.maxsim` of ragged vectors, without padding; fp32, shape (queries, passages).

    A passage without a vector has the score -inf; a query without one gives 0 to all others.

    >>> queries = Vectors.ragged(np.eye(2, dtype=np.float32), [2])
    >>> maxsim(queries, Vectors.ragged(np.array([[1, 0], [0.5, 0.5], [0, 2]], np.float32), [1, 0, 2])).tolist()
    [[1.0, -inf, 2.5]]
    """
    scores = np.zeros((len(queries), len(passages)), np.float32)
    filled, asked = passages.lengths > 0, queries.lengths > 0
    if filled.any() and asked.any():
        similarities = queries.values @ passages.values.T
        best = np.maximum.reduceat(similarities, passages.offsets[:-1][filled], axis=1)
        scores[np.ix_(asked, filled)] = np.add.reduceat(best, queries.offsets[:-1][asked], axis=0)
    scores[:, ~filled] = -np.inf
    return scores


class LateInteraction:
    """Exact search of ragged shards, block by block: memory holds a block of vectors and its similarities, whatever the corpus.

    Parameters
    ----------
    shards
        The vectors of the passages' tokens.
    block
        Vectors read at once.
    """

    blocks_at_once, reads_shards = 1, True

    def __init__(self, shards: Shards, block: int = 65536) -> None:
        self.shards, self.block = shards, block

    @classmethod
    def build(cls, shards: Shards, folder: Path, settings: Settings, seed: int, threads: int) -> dict[str, Any]:
        """There is nothing to build."""
        return describe(shards, folder, "late interaction")

    @classmethod
    def extend(cls, old: Place, shards: Shards, folder: Path, settings: Settings, first: int, seed: int, threads: int) -> dict[str, Any]:
        """There is nothing that was learned."""
        return cls.build(shards, folder, settings, seed, threads)

    @classmethod
    def open(cls, place: Place, settings: Settings, device: str | None = None, verify: bool = False) -> LateInteraction:
        """The shards."""
        return cls(place.vectors())

    def __call__(self, vectors: Vectors | np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores of the best ``k``, by ``(-score, row)``; a passage without a vector is never found."""
        queries = Vectors.of(vectors)
        best = np.full((len(queries), min(k, self.shards.rows)), NOTHING, np.int64)
        for first, block in self.shards.blocks(self.block):
            for start, end in _together(queries.lengths, max(1, NUMBERS // max(1, len(block.values)))):
                scores = maxsim(queries[start:end], block)
                rows = np.where(np.isneginf(scores), -1, np.arange(first, first + len(block)))
                found = np.concatenate([best[start:end], keys_of(scores, rows)], axis=1)
                best[start:end] = np.sort(found, axis=1)[:, : best.shape[1]]
        return results_of(best)


def _together(lengths: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Runs of queries with at most ``most`` vectors together, and at least one query."""
    ends, first = np.cumsum(lengths), 0
    while first < len(lengths):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield first, last
        first = last
