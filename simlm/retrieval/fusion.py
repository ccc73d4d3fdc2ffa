"""Reciprocal rank fusion of runs (Cormack, Clarke and Büttcher, SIGIR 2009)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simlm.runs.runs import Ranking, best_first, read_run

if TYPE_CHECKING:
    from simlm.corpus.store import CorpusStore


def fuse_rankings(rankings: list[np.ndarray], k: int = 60, depth: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Fuse one query's rankings: a passage scores the sum of ``1 / (k + rank)`` over the rankings that hold it.

    Parameters
    ----------
    rankings
        Rows, best first, of each system.
    k
        The formula's constant.
    depth
        Keep so many passages.

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
    for ranking in rankings:
        for rank, row in enumerate(ranking.tolist(), 1):
            parts.setdefault(row, []).append(1.0 / (k + rank))
    rows = np.fromiter(parts, dtype=np.int32, count=len(parts))
    scores = np.fromiter(map(math.fsum, parts.values()), dtype=np.float64, count=len(parts))
    return best_first(rows, scores, depth)


def fuse_runs(files: list[Path], query_ids: list[str], store: CorpusStore, k: int = 60, depth: int | None = None) -> Iterator[Ranking]:
    """Stream the fusion of TREC runs, in the order of ``query_ids``.

    Runs are read side by side, so that memory holds a few queries where all runs have the queries in that order, as
    this project's runs do; queries of a run in another order wait in memory until their turn comes.
    """
    streams = [_Lookup(read_run(file, store)) for file in files]
    for query_id in query_ids:
        rankings = [found for stream in streams if (found := stream.take(query_id)) is not None]
        if rankings:
            yield Ranking(query_id, *fuse_rankings(rankings, k, depth))
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
