"""Random numbers that belong to a place, not to a process: uniform(seed, epoch, passage, position).

A counter-based generator makes masks and samples the same for any number of processes, workers and
micro-batches, and after any resume.
"""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniform(seed: int, stream: int, keys: np.ndarray, width: int) -> np.ndarray:
    """Uniform numbers in [0, 1), one row per key.

    Parameters
    ----------
    seed, stream
        Seed of the training, and which of its independent uses this is.
    keys
        Array (rows, k) of integers that name the rows, such as (epoch, passage).
    width
        Numbers per row.

    Returns
    -------
    numpy.ndarray
        float64, shape (rows, width); a row depends on (seed, stream, its key) and on nothing else.

    >>> a = uniform(1, 0, np.array([[0, 5], [0, 6]]), 3)
    >>> b = uniform(1, 0, np.array([[0, 6]]), 5)
    >>> bool((a[1] == b[0, :3]).all()), a.shape
    (True, (2, 3))
    """
    with np.errstate(over="ignore"):
        state = _mix(np.full(len(keys), seed, dtype=np.uint64) * _GOLDEN + np.uint64(stream))
        for column in np.asarray(keys, dtype=np.uint64).T:
            state = _mix((state ^ column) + _GOLDEN)
        counter = np.arange(1, width + 1, dtype=np.uint64) * _GOLDEN
        bits = _mix(state[:, None] + counter[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def single(draws: np.ndarray) -> np.ndarray:
    """Draws in [0, 1) as float32 in [0, 1): rounding alone would make 1 of the greatest.

    >>> single(np.array([0.25, 1 - 2.0**-53])) < 1
    array([ True,  True])
    """
    return np.minimum(draws.astype(np.float32), np.nextafter(np.float32(1), np.float32(0)))


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's output function (Steele, Lea and Flood, OOPSLA 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
