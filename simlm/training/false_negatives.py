"""Negatives that a teacher takes for right answers: how many there probably are, and which they are.

A teacher's scores may have any sign, and one that was trained on lists may add any number to all scores of a query, so that a share of a
score means nothing. What a student is to follow is the softmax over a list, and there two passages stand to each other as the exponential of
their difference, whatever was added to both. So a negative is close to the positive if it has at least 95 % of the positive's probability,
that is if its score is not more than 0.05 below: ``score >= best + log(share)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from simlm.runs.negatives import CLOSE
from simlm.training.groups import Groups


def as_probable(listed: np.ndarray, labelled: np.ndarray, share: float) -> np.ndarray:
    """Which listed passages have at least ``share`` of the probability of the best labelled one; bool, shape (listed,).

    Parameters
    ----------
    listed, labelled
        A teacher's scores; NaN, where there is none, is never close and never the best.

    >>> as_probable(np.array([-3.0, -3.04, -3.06, np.nan]), np.array([-9.0, -3.0]), 0.95).tolist()
    [True, True, False, False]
    """
    # A rounding error is no reason to keep what is exactly there.
    return np.asarray(listed, np.float64) >= np.fmax.reduce(np.asarray(labelled, np.float64)) + math.log(share) - 1e-6


@dataclass
class Estimate:
    """What a teacher says of the negatives of a training.

    Attributes
    ----------
    compared
        Negatives that it scores, of queries one of whose positives it scores.
    above, close
        Those above the best positive, and those with at least :data:`~simlm.runs.negatives.CLOSE` of its probability.
    """

    compared: int = 0
    above: int = 0
    close: int = 0

    def add(self, listed: np.ndarray, labelled: np.ndarray) -> None:
        """Count the scores of one query's negatives and positives."""
        listed, labelled = (values[~np.isnan(values)] for values in (listed, labelled))
        if len(labelled):
            self.compared += len(listed)
            self.above += int((listed > labelled.max()).sum())
            self.close += int(as_probable(listed, labelled, CLOSE).sum())

    def sentence(self, teacher: str) -> str:
        """The estimate in words."""
        return (
            f"by {teacher}, {self.above / self.compared:.1%} of {self.compared:,} negatives are above the positive, and {self.close / self.compared:.1%} "
            f"have {CLOSE:.0%} of its probability or more: probably right answers that nobody judged"
        )

    def watching(self, scores: Iterable[np.ndarray], groups: Groups, rows: np.ndarray, offsets: np.ndarray) -> Iterator[np.ndarray]:
        """Pass the scores of each query's rows on, and count them."""
        for query, values in enumerate(scores):
            labelled = np.isin(rows[offsets[query] : offsets[query + 1]], groups.positives_of(query))
            self.add(values[~labelled], values[labelled])
            yield values
