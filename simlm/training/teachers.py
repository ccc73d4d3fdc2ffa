"""Several teachers of one student: their scores, averaged.

Teachers have scores of different ranges: one a logit of ten, the next a probability. As they stand the wider range would decide alone, and
both losses of distillation see differences within a list and nothing else. So each list of a teacher is taken without its mean and divided by
that teacher's own spread (one number for the whole training: the root mean square of its deviations from the means of the lists), and the
weighted mean of the teachers is multiplied by the spread of the first and put around the first one's mean. The average has the range of the
first teacher, for which temperatures are chosen, and a teacher averaged with itself comes out as it was. Why not a spread per list: it would
stretch lists in which a teacher sees no difference until they count as much as those in which it is sure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from simlm.errors import UserError
from simlm.training.spill import Spill


def averaged(given: Sequence[Iterable[np.ndarray]], offsets: np.ndarray, weights: Sequence[float] | None, folder: Path) -> Iterator[np.ndarray]:
    """Yield the averaged scores of each query's list in turn, float32; NaN where one of the teachers has no score.

    Parameters
    ----------
    given
        Of each teacher its scores, list by list, NaN where it has none.
    offsets
        Where each list begins, shape (queries + 1,).
    weights
        How much each teacher counts; None: all the same.
    folder
        Where the scores are kept while the process runs.

    Raises
    ------
    UserError
        If no passage is scored by all of them.

    >>> import tempfile
    >>> logits, probabilities = [np.array([8.0, 0.0, -8.0])], [np.array([0.9, 0.5, 0.1])]
    >>> next(averaged([logits, probabilities], np.array([0, 3]), None, Path(tempfile.gettempdir()))).round(3).tolist()
    [8.0, 0.0, -8.0]
    """
    columns = []
    for lists in given:
        spill = Spill(np.float32, folder)
        for values in lists:
            spill.append(values)
        columns.append(spill.finish())
    shares = np.asarray(weights or [1.0] * len(columns), np.float64)
    shares /= shares.sum()

    def centred() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Each list in float64 without its means, shape (teachers, passages), the means, and which passages all teachers score."""
        for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist()):
            values = np.stack([column[begin:end] for column in columns]).astype(np.float64)
            there = np.isfinite(values).all(0)
            means = values[:, there].mean(1, keepdims=True) if there.any() else np.zeros((len(columns), 1))
            yield values - means, means, there

    squares, count = np.zeros(len(columns)), 0
    for values, _, there in centred():
        squares += np.square(values[:, there]).sum(1)
        count += int(there.sum())
    if not count:
        raise UserError("no listed passage is scored by all of the teachers; let them score the same lists, or take one of them")
    spreads = np.sqrt(squares / count)
    # A teacher that never sees a difference adds none.
    factors = shares * np.divide(spreads[0], spreads, out=np.zeros_like(spreads), where=spreads > 0)
    for values, means, there in centred():
        mixed = np.full(values.shape[1], np.nan, np.float32)
        mixed[there] = (factors[:, None] * values[:, there]).sum(0) + means[0]
        yield mixed
