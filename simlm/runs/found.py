"""Results on their way into a run: each passage once, without the query's own, counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from simlm.runs.runs import Ranking

OFTEN = 0.1
"""Share of the queries with too few results from which a caution is due."""


class Found:
    """Rankings cut at a depth, each passage once and none the query's own, and counts of what went through.

    Parameters
    ----------
    rankings
        Results, best first. To reach ``depth`` without the query's own passage they must be one passage deeper (:attr:`asked`).
    depth
        Passages kept per query.
    own
        Query id → row of the passage that is the query itself (`CorpusStore.own_rows`).

    >>> found = Found([Ranking("q", np.array([7, 3, 7, 5]), np.array([4.0, 3.0, 2.0, 1.0]))], 2, {"q": 3})
    >>> list(found), found.own, found.doubled
    ([Ranking(query_id='q', passages=array([7, 5]), scores=array([4., 1.]))], 1, 1)
    """

    def __init__(self, rankings: Iterable[Ranking], depth: int, own: Mapping[str, int] | None = None) -> None:
        self._rankings, self.depth, self._own = rankings, depth, own or {}
        self.queries = self.passages = self.own = self.doubled = self.short = self.empty = 0

    @staticmethod
    def asked(depth: int, own: Mapping[str, int]) -> int:
        """Passages to ask a search for, so that ``depth`` are left without the query's own."""
        return depth + bool(own)

    def __iter__(self) -> Iterator[Ranking]:
        for query_id, passages, scores in self._rankings:
            keep = np.ones(len(passages), bool)
            _, first = np.unique(passages, return_index=True)
            if len(first) < len(passages):
                keep[:] = False
                keep[first] = True
                self.doubled += len(passages) - len(first)
            if query_id in self._own:
                mine = passages == self._own[query_id]
                self.own += int(mine.any())
                keep &= ~mine
            if not keep.all():
                passages, scores = passages[keep], scores[keep]
            passages, scores = passages[: self.depth], scores[: self.depth]
            self.queries += 1
            self.passages += len(passages)
            self.short += len(passages) < self.depth
            self.empty += not len(passages)
            yield Ranking(query_id, passages, scores)

    def __str__(self) -> str:
        """What was found, in a sentence."""
        mean = self.passages / max(1, self.queries)
        many = f"{self.depth:,} passages each" if not self.short else f"{mean:,.1f} of {self.depth:,} passages each on average"
        parts = [f"{self.queries:,} queries, {many}"]
        if self.empty:
            parts.append(f"nothing found for {self.empty:,}")
        if self.own:
            parts.append(f"the passage that is the query itself left out of {self.own:,}")
        if self.doubled:
            parts.append(f"{self.doubled:,} passages listed twice removed")
        return "; ".join(parts)

    def cautions(self, split: str, passages: int, what: str) -> Iterator[str]:
        """Sentences about results that are too few: ``what`` is what to do about it; the corpus has ``passages``."""
        if passages > self.depth and self.short > OFTEN * self.queries:
            yield f"{split}: {self.short:,} of {self.queries:,} queries have fewer than {self.depth:,} results, {self.passages:,} in all; {what}"
        if self.doubled:
            yield f"{split}: the index listed {self.doubled:,} passages twice; they were removed, so that fewer are left"
