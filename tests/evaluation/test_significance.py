"""Paired tests and Holm's correction against SciPy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from simlm.evaluation.significance import holm, paired_randomisation, paired_t_test


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shift", [0.0, 0.05, 0.5])
def test_t_test_is_scipys(seed, shift):
    random = np.random.default_rng(seed)
    first = random.random(50)
    second = first + random.normal(shift, 0.2, size=50)
    assert paired_t_test(first, second) == pytest.approx(stats.ttest_rel(first, second).pvalue, rel=1e-10)


def test_t_test_where_systems_never_or_always_differ():
    same = np.array([0.5, 0.25, 1.0])
    assert paired_t_test(same, same) == 1.0
    assert paired_t_test(same, same - 0.125) == 0.0
    assert paired_t_test(same[:1], same[:1] - 0.1) == 1.0


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_randomisation_is_scipys(shift):
    random = np.random.default_rng(8)
    first, second = random.random(25), random.random(25) + shift
    theirs = stats.permutation_test(
        (first, second), lambda x, y, axis: (x - y).mean(axis), permutation_type="samples", vectorized=True, n_resamples=20000, rng=0
    ).pvalue
    assert paired_randomisation(first, second, seed=1, draws=20000) == pytest.approx(theirs, abs=0.01)


def test_randomisation_of_few_queries_is_exact():
    # Of 2^4 sign patterns of (1, 1, 1, 1) two reach |sum| 4: p = 1/8.
    assert paired_randomisation(np.ones(4), np.zeros(4), seed=0, draws=20000) == pytest.approx(1 / 8, abs=0.01)


def test_randomisation_is_seeded_symmetric_and_never_zero():
    random = np.random.default_rng(2)
    first, second = random.random(100), random.random(100)
    assert paired_randomisation(first, second, seed=[4, 2]) == paired_randomisation(first, second, seed=[4, 2])
    assert paired_randomisation(first, second, seed=3) == paired_randomisation(second, first, seed=3)
    assert paired_randomisation(first + 10, second, seed=0, draws=999) == pytest.approx(1 / 1000)
    assert paired_randomisation(first, first, seed=0) == 1.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_rejects_what_the_step_down_rule_rejects():
    random = np.random.default_rng(0)
    for _ in range(50):
        p_values = (random.random(8) ** 3).tolist()
        rejected = set()
        for step, i in enumerate(sorted(range(8), key=p_values.__getitem__)):
            if p_values[i] > 0.05 / (8 - step):
                break
            rejected.add(i)
        assert {i for i, p in enumerate(holm(p_values)) if p <= 0.05} == rejected
