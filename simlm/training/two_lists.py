"""Two lists of negatives for one training (coCondenser's second round, which trains on those of BM25 and on those mined from the first).

Its authors put the two training sets behind one another: in an epoch each query comes twice, once with negatives of either list. Here
it comes once with the one and, in the next epoch, once with the other; a hash of the query says with which it begins, so that each
epoch holds about as many of both. Two epochs are one of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from simlm.training.groups import Groups, visits
from simlm.training.spill import Spill

_TOGETHER = 4096


@dataclass(frozen=True)
class TwoLists(Groups):
    """Groups whose negatives are two lists, one behind the other.

    Attributes
    ----------
    middles
        Where the second list of each query begins, shape (queries,).
    """

    middles: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def visit(self, seed: int, epoch: int, query: int, n: int, rotation: str) -> np.ndarray:
        """As in :class:`~simlm.training.groups.Groups`; a query that one list lacks has the other in all epochs."""
        begin, middle, end = int(self.negative_offsets[query]), int(self.middles[query]), int(self.negative_offsets[query + 1])
        both = [part for part in (self.negatives[begin:middle], self.negatives[middle:end]) if len(part)] or [self.negatives[begin:end]]
        own = both[(epoch + int(self.keys[query])) % len(both)]
        positive, negatives = visits(seed, epoch // len(both), self.query_ids[query], self.positives_of(query), own, n, rotation)
        return np.concatenate([[positive], negatives])

    def visited(self, seed: int, epochs: Iterable[int], query: int, n: int, rotation: str) -> np.ndarray:
        return np.unique(np.concatenate([self.visit(seed, epoch, query, n, rotation) for epoch in epochs]))

    def where(self, positives: np.ndarray, negatives: np.ndarray) -> TwoLists:
        places = np.concatenate([[0], np.cumsum(negatives)])
        return replace(super().where(positives, negatives), middles=places[self.middles])


def in_turn(first: Groups, second: Groups, folder: Path) -> TwoLists:
    """The queries of both, each with what either lists for it.

    Parameters
    ----------
    folder
        Where the lists are kept while the process runs.
    """
    places = [{query_id: i for i, query_id in enumerate(groups.query_ids)} for groups in (first, second)]
    query_ids = [*first.query_ids, *(query_id for query_id in second.query_ids if query_id not in places[0])]
    spills, lengths = (Spill(np.int32, folder), Spill(np.int32, folder)), np.zeros((len(query_ids), 3), np.int64)
    for start in range(0, len(query_ids), _TOGETHER):
        positives, negatives = [], []
        for i, query_id in enumerate(query_ids[start : start + _TOGETHER], start):
            found = [(groups, number[query_id]) for groups, number in zip((first, second), places) if query_id in number]
            positives.append(found[0][0].positives_of(found[0][1]))
            own = [groups.negatives_of(number[query_id]) if query_id in number else [] for groups, number in zip((first, second), places)]
            negatives += [np.asarray(part, np.int32) for part in own]
            lengths[i] = len(positives[-1]), len(own[0]), len(own[1])
        spills[0].append(np.concatenate(positives))
        spills[1].append(np.concatenate(negatives))
    positive_offsets, negative_offsets = (np.concatenate([[0], np.cumsum(counts)]) for counts in (lengths[:, 0], lengths[:, 1] + lengths[:, 2]))
    keys = np.concatenate([first.keys, second.keys[[places[1][query_id] for query_id in query_ids[len(first) :]]]])
    about = {**first.about, "further": second.about, "queries": len(query_ids)}
    middles = negative_offsets[:-1] + lengths[:, 1]
    return TwoLists(query_ids, keys, spills[0].finish(), positive_offsets, spills[1].finish(), negative_offsets, about, middles)
