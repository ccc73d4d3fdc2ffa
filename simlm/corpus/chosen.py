"""The passages that ``max_passages`` keeps: judged ones first, then by a hash of their ids, the same ones in any order of the file."""

from __future__ import annotations

from array import array
from collections.abc import Container

import numpy as np

from simlm.corpus.choice import hash64
from simlm.corpus.judged import JudgedSplit
from simlm.corpus.records import Records, clean_id
from simlm.progress import progress


class Chosen:
    """Ids kept by ``max_passages``: the hash decides within a tier, so that 8 bytes per passage are enough.

    Tiers: relevant for a split whose queries are limited (those numbers were asked for), relevant for another split,
    judged, the rest.
    """

    def __init__(self, judged: dict[str, JudgedSplit], limited: Container[str]) -> None:
        self.limit = 0
        self.seen: set[str] = set()
        self.tiers: dict[str, int] = {}
        for split in judged.values():
            for graded in split.qrels.values():
                for passage, grade in graded.items():
                    tier = 2 if grade < 1 else 0 if split.name in limited else 1
                    self.tiers[passage] = min(tier, self.tiers.get(passage, 3))

    def rank(self, passage_id: str) -> int:
        return (self.tiers.get(passage_id, 3) << 62) | (hash64(passage_id, "passages") >> 2)

    def __contains__(self, passage_id: str) -> bool:
        return self.rank(passage_id) <= self.limit


def choose_passages(records: Records, judged: dict[str, JudgedSplit], most: int, limited: Container[str]) -> Chosen:
    """The ``most`` passages to keep, and which of the judged ones are there: a first pass over the corpus."""
    chosen = Chosen(judged, limited)
    ranks = array("Q")
    for n, passage in enumerate(progress(records, None, "Choosing passages", unit="passages"), 1):
        one = clean_id(passage[0], records.where, n, "passage")
        if one in chosen.tiers:
            chosen.seen.add(one)
        ranks.append(chosen.rank(one))
    if ranks:
        order = np.frombuffer(ranks, dtype=np.uint64)
        chosen.limit = int(np.partition(order, min(most, len(order)) - 1)[min(most, len(order)) - 1])
    return chosen
