"""Paired significance tests between two systems on the same queries, and Holm's correction for many of them."""

from __future__ import annotations

import math

import numpy as np

DRAWS_AT_ONCE = 256


def paired_t_test(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided p-value of Student's paired t-test.

    Parameters
    ----------
    first, second
        Values of the two systems, aligned by query (at least 2).

    Returns
    -------
    float
        1.0 where the systems never differ; 0.0 where they differ by the same amount everywhere.

    >>> round(paired_t_test(np.array([1.0, 2.0, 4.0]), np.array([0.0, 0.0, 1.0])), 4)
    0.0742
    """
    from scipy.special import stdtr

    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    count = len(differences)
    if count < 2 or not differences.any():
        return 1.0
    deviation = differences.std(ddof=1)
    if deviation == 0:
        return 0.0
    return float(2 * stdtr(count - 1, -abs(differences.mean()) / (deviation / math.sqrt(count))))


def paired_randomisation(first: np.ndarray, second: np.ndarray, seed: int | list[int], draws: int = 2000) -> float:
    """Two-sided p-value of Fisher's paired randomisation test (Smucker et al., CIKM 2007).

    Under the null hypothesis the two systems' names are exchangeable for each query: the sign of every difference is
    drawn ``draws`` times, and p is the share of draws whose mean differs at least as much as the observed one (the
    observed one counted among them, so that p is never 0).
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    differences = differences[differences != 0]  # a zero stays zero whatever its sign
    if not len(differences):
        return 1.0
    random = np.random.default_rng(seed)
    observed = abs(differences.sum()) * (1 - 1e-12)  # equal sums may differ in the last bit
    extreme = 0
    for start in range(0, draws, DRAWS_AT_ONCE):
        signs = random.integers(0, 2, size=(min(DRAWS_AT_ONCE, draws - start), len(differences)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(np.einsum("dq,q->d", signs, differences)) >= observed).sum())
    return (1 + extreme) / (1 + draws)


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction, in the order given (Holm, 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, largest = [0.0] * len(p_values), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[i]))
        corrected[i] = largest
    return corrected
