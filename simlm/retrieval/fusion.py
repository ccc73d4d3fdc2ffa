"""Fusion of runs: by reciprocal ranks (Cormack, Clarke and Büttcher, SIGIR 2009), or by standardised scores.

Ranks ask nothing of the scores, but they cannot tell a list whose first passage stands far above the others from one that guesses:
a weak list then moves what a strong one is sure of. Standardised scores can (Bruch, Gai and Ingber, "An Analysis of Fusion Functions
for Hybrid Retrieval", TOIS 2023, compare the two).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from simlm.runs.runs import Ranking, best_first

Ranked = tuple[np.ndarray, np.ndarray]
"""One query's passages of one system: rows and scores, best first."""

SPREAD = 100
"""Mean and spread are those of so many of a list's best passages, so that a list that is read deeper counts no less."""


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


def fuse_scores(lists: Sequence[Ranked], depth: int | None = None, weights: Sequence[float] | None = None) -> Ranked:
    """Fuse one query's lists: a passage scores the weighted sum of its standardised scores in the lists.

    A list's scores lose the mean of its first :data:`SPREAD` and are divided by their standard deviation; a passage that a list lacks
    gets the list's lowest score. A list without a passage says nothing, nor does one of weight 0.

    Parameters and results are those of :func:`fuse_rankings`, with each list's scores beside its rows.

    >>> rows, scores = fuse_scores([(np.array([4, 9, 2]), np.array([9.0, 1.0, -1.0])), (np.array([9, 4]), np.array([0.6, 0.5]))])
    >>> rows.tolist(), scores.round(3).tolist()
    ([9, 4, 2], [0.537, 0.389, -1.926])
    """
    told = [(rows, _standardised(scores), weight) for (rows, scores), weight in zip(lists, weights or [1.0] * len(lists), strict=True) if len(rows) and weight]
    every = np.unique(np.concatenate([rows for rows, _, _ in told])) if told else np.zeros(0, np.int32)
    parts = np.zeros((len(every), len(told)))
    for column, (rows, scores, weight) in enumerate(told):
        parts[:, column] = weight * scores.min()
        parts[np.searchsorted(every, rows), column] = weight * scores
    return best_first(every.astype(np.int32), np.fromiter(map(math.fsum, parts), np.float64, len(parts)), depth)


def _standardised(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    best = scores[:SPREAD]
    return (scores - best.mean()) / (float(best.std()) or 1.0)


def fusing(by: str, k: int, depth: int | None, weights: Sequence[float] | None) -> Callable[[list[Ranked]], Ranked]:
    """The function that fuses one query's lists as the settings of a fusion say."""
    if by == "scores":
        return lambda lists: fuse_scores(lists, depth, weights)
    return lambda lists: fuse_rankings([rows for rows, _ in lists], k, depth, weights)


def fuse_runs(runs: list[Iterator[Ranking]], query_ids: list[str], fuse: Callable[[list[Ranked]], Ranked]) -> Iterator[Ranking]:
    """Stream the fusion of runs, in the order of ``query_ids``; ``fuse``: see :func:`fusing`.

    Runs are read side by side, so that memory holds a few queries where all runs have the queries in that order, as
    this project's runs do; queries of a run in another order wait in memory until their turn comes.
    """
    streams, nothing = [_Lookup(run) for run in runs], (np.zeros(0, np.int32), np.zeros(0))
    for query_id in query_ids:
        found = [stream.take(query_id) for stream in streams]
        if any(one is not None for one in found):
            yield Ranking(query_id, *fuse([nothing if one is None else one for one in found]))
    for stream in streams:
        stream.finish()


class _Lookup:
    """Finds queries in a stream of rankings; those read on the way wait until they are asked for."""

    def __init__(self, stream: Iterator[Ranking]) -> None:
        self._stream, self._waiting = stream, {}

    def take(self, query_id: str) -> Ranked | None:
        """Rows and scores of the query's ranking, or None when the stream does not have it."""
        if query_id in self._waiting:
            return self._waiting.pop(query_id)
        for ranking in self._stream:
            if ranking.query_id == query_id:
                return ranking.passages, ranking.scores
            self._waiting[ranking.query_id] = ranking.passages, ranking.scores
        return None

    def finish(self) -> None:
        """Read the rest, so that a truncated end is noticed."""
        for _ in self._stream:
            pass
