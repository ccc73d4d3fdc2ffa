"""A result as one integer, so that sorted integers are results ordered by ``(-score, row)``.

The upper half of a key is the score's bits, turned so that a higher score gives a smaller number; the lower half is the row. Sorting
keys is several times as fast as sorting scores and rows together, on a processor and on a GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

NOTHING = int(np.iinfo(np.int64).max)
"""Key of a place without a result; sorts behind all others."""

_ALL_BUT_SIGN, _ROW = 0x7FFFFFFF, 0xFFFFFFFF


def keys_of(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Keys (int64) of results.

    Parameters
    ----------
    scores
        fp32, any shape; -0 counts as 0.
    rows
        Integers below 2³¹ of the same shape, -1 where there is no result.

    >>> results_of(np.sort(keys_of(np.array([[0.5, -2.0, 0.5, 0.0]], np.float32), np.array([[7, 1, 4, -1]]))))
    (array([[ 4,  7,  1, -1]]), array([[ 0.5,  0.5, -2. , -inf]], dtype=float32))
    """
    falling = ~_ordered((np.asarray(scores, np.float32) + np.float32(0)).view(np.int32))
    return np.where(rows < 0, NOTHING, (falling.astype(np.int64) << 32) | rows)


def keys_of_tensors(scores: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The same on the device of the tensors; every place has a result."""
    import torch

    falling = ~_ordered((scores + 0).view(torch.int32))
    return (falling.to(torch.int64) << 32) | rows


def results_of(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (int64, -1 where there is none) and scores (fp32, -inf there) of keys."""
    scores = _ordered(~(keys >> 32).astype(np.int32)).view(np.float32)
    missing = keys == NOTHING
    return np.where(missing, -1, keys & _ROW), np.where(missing, np.float32(-np.inf), scores)


def _ordered(bits):
    """Bits of fp32 numbers (int32, numpy's or torch's) as integers in the order of the numbers; applied twice, the bits again."""
    return bits ^ ((bits >> 31) & _ALL_BUT_SIGN)


def same_score(keys, others):
    """Where two arrays of keys (numpy's or torch's) have equal scores."""
    return (keys >> 32) == (others >> 32)
