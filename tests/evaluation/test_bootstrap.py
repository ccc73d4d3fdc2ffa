"""Bootstrap intervals against SciPy and the normal approximation."""

from __future__ import annotations

import numpy as np
from scipy import stats

from simlm.evaluation import bootstrap
from simlm.evaluation.bootstrap import mean_intervals


def test_intervals_are_scipys():
    values = np.random.default_rng(0).exponential(size=120)
    low, high = mean_intervals(values[:, None], seed=1, resamples=20000, confidence=0.9)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20000, confidence_level=0.9, rng=2).confidence_interval
    np.testing.assert_allclose([low[0], high[0]], theirs, atol=0.01)


def test_intervals_of_many_queries_are_nearly_normal():
    values = np.random.default_rng(1).normal(3.0, 2.0, size=(4000, 2))
    low, high = mean_intervals(values, seed=0, resamples=4000)
    error = values.std(axis=0) / np.sqrt(4000)
    np.testing.assert_allclose(low, values.mean(axis=0) - 1.96 * error, atol=0.1 * error.max())
    np.testing.assert_allclose(high, values.mean(axis=0) + 1.96 * error, atol=0.1 * error.max())


def test_seeded_shared_by_columns():
    values = np.random.default_rng(1).random((50, 3))
    first, second = mean_intervals(values, seed=7), mean_intervals(values[:, 1:], seed=7)
    np.testing.assert_array_equal(first[0][1:], second[0])
    np.testing.assert_array_equal(first[1][1:], second[1])
    assert (mean_intervals(values, seed=8)[0] != first[0]).all()


def test_one_query_has_no_width():
    assert [bound.tolist() for bound in bootstrap.mean_intervals(np.array([[0.3]]), seed=0)] == [[0.3], [0.3]]
