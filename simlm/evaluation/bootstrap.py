"""Bootstrap confidence intervals of averages over queries."""

from __future__ import annotations

import numpy as np


def mean_intervals(values: np.ndarray, seed: int | list[int], resamples: int = 2000, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile intervals of the column means when queries are drawn with replacement (Sakai, SIGIR 2006).

    All columns see the same resamples, so that systems judged on the same queries are treated alike.

    Parameters
    ----------
    values
        Shape (queries, columns).

    Returns
    -------
    tuple of arrays
        Lower and upper bound per column.

    >>> low, high = mean_intervals(np.array([[1.0, 0.5]] * 5), seed=0)
    >>> low.tolist(), high.tolist()
    ([1.0, 0.5], [1.0, 0.5])
    """
    values = np.asarray(values, dtype=np.float64)
    queries = len(values)
    random = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    at_once = max(1, 2_000_000 // queries)
    for start in range(0, resamples, at_once):
        rows = range(start, min(start + at_once, resamples))
        counts = np.stack([np.bincount(random.integers(0, queries, queries), minlength=queries) for _ in rows]).astype(np.float64)
        # Not a BLAS product: its summation order depends on the number of threads, and tables must not.
        means[rows.start : rows.stop] = np.einsum("rq,qc->rc", counts, values) / queries
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return low, high
