"""What every index can do, and the order of its results: ``(-score, row)``, with no tie left to chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from simlm.config.embedding import Index as Settings
from simlm.indexes.keys import NOTHING, same_score
from simlm.vectors.shards import Shards
from simlm.vectors.vectors import Vectors


@dataclass(frozen=True)
class Place:
    """Where a model's vectors and index lie, and what they must have been made from.

    Attributes
    ----------
    index
        ``Paths.index(model)``.
    embeddings, shards
        ``Paths.embeddings(model)`` and the number of its shards.
    """

    index: Path
    embeddings: Path
    shards: int
    model_sha256: str
    corpus_sha256: str

    def vectors(self) -> Shards:
        """The embedded shards, checked against each other, the model and the corpus."""
        return Shards(self.embeddings, self.shards, model_sha256=self.model_sha256, corpus_sha256=self.corpus_sha256)


class Index(Protocol):
    """An index over the vectors of all passages.

    Attributes
    ----------
    blocks_at_once
        Blocks of queries that are searched together.
    reads_shards
        Whether a search reads the embedded shards instead of what was built.
    """

    blocks_at_once: int
    reads_shards: ClassVar[bool]

    @classmethod
    def build(cls, shards: Shards, folder: Path, settings: Settings, seed: int, threads: int) -> dict[str, Any]:
        """Write the index and then its ``manifest.json``, which is returned."""
        ...

    @classmethod
    def extend(cls, old: Place, shards: Shards, folder: Path, settings: Settings, first: int, seed: int, threads: int) -> dict[str, Any]:
        """Write the index of a corpus that begins with that of ``old``: what was learned stays, and the vectors from row ``first`` on are ``shards``'."""
        ...

    @classmethod
    def open(cls, place: Place, settings: Settings, device: str | None = None, verify: bool = False) -> Index:
        """Open what :meth:`build` wrote; ``device`` is torch's name of one that multiplies, such as ``cuda``; ``verify``: compare it with its digest."""
        ...

    def __call__(self, vectors: Vectors | np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows (int64) and scores (fp32) of the best ``k`` of each query; shape (queries, k or all there are), row -1 and score -inf where there are fewer."""
        ...


SPARE = 16
"""Passages asked for beyond ``k``, to see whether passages at the cut have the same score."""

BlockSearch = Callable[[Any, int], Any]
"""Vectors (queries, dimension) and k → the best k results of each as sorted keys (`simlm.indexes.keys`), shape (queries, k)."""


def best_keys(search: BlockSearch, vectors: Any, k: int, rows: int) -> Any:
    """Best ``k`` passages by ``(-score, row)`` from a search that breaks ties at its cut as it likes.

    A few passages more than ``k`` are asked for. Where the last of them still has the score of the k-th, others with that
    score may have been left out, so the query is asked again for more.

    Parameters
    ----------
    search
        The search underneath.
    vectors
        Shape (queries, dimension), fp32; numpy's, or a tensor if that is what the search takes and gives.
    rows
        Number of passages that can be found.

    Returns
    -------
    array or tensor
        Sorted keys, shape (queries, min(k, rows)).
    """
    k = min(k, rows)
    wanted = min(k + SPARE, rows)
    best = search(vectors, wanted)
    while wanted < rows and k:
        open_ended = same_score(best[:, -1], best[:, k - 1]) & (best[:, -1] != NOTHING)
        if not open_ended.any():
            break
        wanted = min(wanted * 4, rows)
        again = search(vectors[open_ended], wanted)
        # Only the first k count from here on, plus a last column that tells whether the query is settled.
        best = best[:, [*range(k), -1]]
        best[open_ended] = again[:, [*range(k), -1]]
    return best[:, :k]
