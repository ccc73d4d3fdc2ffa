"""Reciprocal rank fusion of runs (Cormack, Clarke and Büttcher, SIGIR 2009)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from simlm.runs.runs import Ranking, best_first


def fuse_rankings(rankings: list[np.ndarray], k: int = 60, depth: int | None = None, weights: Sequence[float] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Fuse one query's rankings: a passage scores the sum of ``weight / (k + rank)`` over the rankings that hold it.

    Parameters
    ----------
    rankings
        Rows, best first, of each system.
    k
        The formula's constant.
    depth
        Keep so many passages.
    weights
        How much each ranking counts, 0: not at all; None: each counts 1.

    Returns
    -------
    tuple of arrays
        Rows (int32) and scores (float64), by ``(-score, row)``. Sums are correctly rounded, so that passages with the
        same ranks in another order of the systems tie exactly.

    >>> rows, scores = fuse_rankings([np.array([4, 9]), np.array([9, 4]), np.array([5])], k=60)
    >>> rows.tolist(), scores[0] == scores[1] == 1 / 61 + 1 / 62
    ([4, 9, 5], np.True_)
    """
    parts: dict[int, list[float]] = {}
    for ranking, weight in zip(rankings, weights or [1.0] * len(rankings), strict=True):
        for rank, row in enumerate(ranking.tolist() if weight else (), 1):
            parts.setdefault(row, []).append(weight / (k + rank))
    rows = np.fromiter(parts, dtype=np.int32, count=len(parts))
    scores = np.fromiter(map(math.fsum, parts.values()), dtype=np.float64, count=len(parts))
    return best_first(rows, scores, depth)


def fuse_runs(
    runs: list[Iterator[Ranking]], query_ids: list[str], k: int = 60, depth: int | None = None, weights: Sequence[float] | None = None
) -> Iterator[Ranking]:
    """Stream the fusion of runs, in the order of ``query_ids``; ``weights``: see :func:`fuse_rankings`.

    Runs are read side by side, so that memory holds a few queries where all runs have the queries in that order, as
    this project's runs do; queries of a run in another order wait in memory until their turn comes.
    """
    streams, nothing = [_Lookup(run) for run in runs], np.zeros(0, np.int32)
    for query_id in query_ids:
        rankings = [stream.take(query_id) for stream in streams]
        if any(ranking is not None for ranking in rankings):
            yield Ranking(query_id, *fuse_rankings([nothing if ranking is None else ranking for ranking in rankings], k, depth, weights))
    for stream in streams:
        stream.finish()


class _Lookup:
    """Finds queries in a stream of rankings; those read on the way wait until they are asked for."""

    def __init__(self, stream: Iterator[Ranking]) -> None:
        self._stream, self._waiting = stream, {}

    def take(self, query_id: str) -> np.ndarray | None:
        """Rows of the query's ranking, or None when the stream does not have it."""
        if query_id in self._waiting:
            return self._waiting.pop(query_id)
        for ranking in self._stream:
            if ranking.query_id == query_id:
                return ranking.passages
            self._waiting[ranking.query_id] = ranking.passages
        return None

    def finish(self) -> None:
        """Read the rest, so that a truncated end is noticed."""
        for _ in self._stream:
            pass
