"""Scores of (term, passage) pairs, term by term, and the best passages of a query by their sums.

A query's terms are added up in the order of the most that each can give. As soon as what is left cannot lift a passage that has none of
the terms so far above the k-th best sum, the long lists of the frequent terms are not read any more: only the passages that may still
win are looked up in them (MaxScore; Turtle and Flood, 1995). What is returned is added up anew in the order of the query, so it has the
bits of a sum over all lists.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from simlm.runs.runs import best_first

FEW = 1 << 15
"""Pairs of a query that are added up in less time than it takes to see which of them could be left out."""

LOOK_UP = 8
"""Looking up a passage in a list takes as long as adding up so many pairs of it."""


class Postings:
    """The pairs of all terms.

    Parameters
    ----------
    scores, rows
        fp32, positive, and int32; the pairs of a term stand together, by row.
    starts
        Where those of each term begin, and the end of the last; shape (terms + 1,).
    passages
        Number of passages.
    """

    def __init__(self, scores: np.ndarray, rows: np.ndarray, starts: np.ndarray, passages: int) -> None:
        self.scores, self.rows, self.starts, self.passages = scores, rows, starts, passages
        self._most: dict[int, float] = {}

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.scores)

    def space(self) -> np.ndarray:
        """What a search adds up in: zeros before and after it."""
        return np.zeros(self.passages, np.float32)

    def sums(self, terms: list[int]) -> np.ndarray:
        """Sums of all passages; fp32, shape (passages,)."""
        totals = self.space()
        for term in terms:
            self._add(term, totals)
        return totals

    def best(self, terms: list[int], k: int, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and sums of the best ``k`` of the passages that have a term, by ``(-sum, row)``; a term counts as often as it is there.

        Parameters
        ----------
        totals
            From :meth:`space`.

        >>> postings = Postings(np.array([1, 2, 4], np.float32), np.array([0, 2, 2], np.int32), np.array([0, 2, 3]), 3)
        >>> postings.best([0, 1], 2, postings.space())
        (array([2, 0], dtype=int32), array([6., 1.], dtype=float32))
        """
        if sum(self.length(term) for term in set(terms)) <= FEW:
            rows, sums = self._all(terms, totals)
        else:
            rows = self._possible(Counter(terms), k, totals)
            sums = np.zeros(len(rows), np.float32)
            found = {term: self._look_up(term, rows) for term in set(terms)}
            for term in terms:
                sums += found[term]
        if len(rows) > k:
            kept = sums >= _kth(sums, k)
            rows, sums = rows[kept], sums[kept]
        return best_first(rows, sums, k)

    def _span(self, term: int) -> slice:
        return slice(int(self.starts[term]), int(self.starts[term + 1]))

    def length(self, term: int) -> int:
        """Number of passages that have the term."""
        return int(self.starts[term + 1] - self.starts[term])

    def _largest(self, term: int) -> float:
        if term not in self._most:
            self._most[term] = float(self.scores[self._span(term)].max(initial=0))
        return self._most[term]

    def _add(self, term: int, totals: np.ndarray, times: int = 1) -> np.ndarray:
        """Add a term's pairs; returns the rows that had nothing before."""
        span = self._span(term)
        rows = self.rows[span]  # a row occurs once per term
        before = totals.take(rows)
        totals.put(rows, before + (self.scores[span] if times == 1 else self.scores[span] * np.float32(times)))
        return rows[before == 0]

    def _all(self, terms: list[int], totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All passages that have a term, and their sums."""
        rows = np.concatenate([np.empty(0, np.int32), *(self._add(term, totals) for term in terms)])
        sums = totals.take(rows)
        totals.put(rows, 0)
        return rows, sums

    def _possible(self, times: Counter[int], k: int, totals: np.ndarray) -> np.ndarray:
        """Rows, ascending, among which the best ``k`` are: few more than these."""
        terms = sorted(times, key=lambda term: -times[term] * self._largest(term))
        most = [times[term] * self._largest(term) for term in terms]
        rounding = 1 - (len(terms) + sum(times.values()) + 2) * float(np.finfo(np.float32).eps)
        touched, pairs = [np.empty(0, np.int32)], sum(map(self.length, terms))
        for done, term in enumerate(terms, 1):
            touched.append(self._add(term, totals, times[term]))
            pairs -= self.length(term)
            left = sum(most[done:])
            if left >= sum(most[:done]) and pairs:
                continue
            touched = [np.concatenate(touched)]
            if len(touched[0]) < k:
                continue
            sums = totals.take(touched[0])
            least = _kth(sums, k) * rounding
            if least <= left and pairs:
                continue
            could = sums + left >= least
            if pairs and LOOK_UP * np.count_nonzero(could) * (len(terms) - done) > pairs:
                continue
            rows, sums = touched[0][could], sums[could]
            break
        else:
            rows = np.concatenate(touched)
            sums, left, done = totals.take(rows), 0.0, len(terms)
        totals.put(np.concatenate(touched), 0)
        order = np.argsort(rows)
        rows, sums = rows[order], sums[order]
        for place in range(done, len(terms)):
            sums = sums + self._look_up(terms[place], rows) * np.float32(times[terms[place]])
            could = sums + sum(most[place + 1 :]) >= _kth(sums, k) * rounding
            rows, sums = rows[could], sums[could]
        return rows

    def _look_up(self, term: int, rows: np.ndarray) -> np.ndarray:
        """A term's scores of some passages (ascending rows), 0 where it has none."""
        span = self._span(term)
        own = self.rows[span]
        if not len(own):
            return np.zeros(len(rows), np.float32)
        places = np.searchsorted(own, rows)
        places[places == len(own)] = 0
        return np.where(own[places] == rows, self.scores[span][places], np.float32(0))


def _kth(sums: np.ndarray, k: int) -> float:
    """The k-th largest of at least ``k``."""
    return float(np.partition(sums, len(sums) - k)[len(sums) - k])
