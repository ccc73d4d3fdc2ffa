"""Exact search of blocks of vectors on a processor: of each matrix product only what exceeds the k-th best score so far is looked at again.

Blocks come in the order of their rows, so a passage with the score of the k-th best, which comes later, is never among the best ``k``
by ``(-score, row)``: a comparison settles ties, too. After the first few thousand passages almost nothing exceeds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
from threadpoolctl import threadpool_limits

from simlm.indexes.keys import NOTHING, keys_of, results_of

Blocks = Iterable[tuple[int, np.ndarray]]
"""First row and fp32 vectors of consecutive blocks."""

QUERIES, PASSAGES = 1024, 1024
"""Queries and passages that are compared at once: 4 MiB of scores. The second is a power of two."""

FEWEST = 16
"""Queries of the smallest product. Smaller ones take other ways through the library, whose last bits differ: scores should not depend on the company."""

WAITING = 1 << 22
"""Keys (8 bytes each) that wait for their order in a thread at once, unless ``k`` asks for more."""


def nearest(blocks: Blocks, queries: np.ndarray, k: int, threads: int = 1) -> np.ndarray:
    """Sorted keys (`simlm.indexes.keys`) of the best ``k`` passages of each query, shape (queries, k); the same for any number of threads.

    Parameters
    ----------
    queries
        fp32, shape (queries, dimension).
    k
        At most as many as there are passages.

    >>> passages, queries = np.array([[1, 0], [0, 1], [3, 4]], np.float32), np.array([[0, 1]], np.float32)
    >>> results_of(nearest([(0, passages[:2]), (2, passages[2:])], queries, 2))
    (array([[2, 1]]), array([[4., 1.]], dtype=float32))
    """
    asked = len(queries)
    if not asked or not k:
        return np.zeros((asked, k), np.int64)
    queries = np.pad(queries, ((0, -asked % FEWEST), (0, 0)))
    at_once = max(FEWEST, min(QUERIES, WAITING // (k + PASSAGES) // FEWEST * FEWEST, len(queries)))
    chunks = [slice(start, start + at_once) for start in range(0, len(queries), at_once)]
    best = np.full((len(queries), k), NOTHING, np.int64)
    threads = max(1, min(threads, len(chunks)))
    spaces: SimpleQueue[_Space] = SimpleQueue()
    for _ in range(threads):
        spaces.put(_Space(at_once, queries.shape[1], k))
    # A chunk of queries per thread: numpy lets other threads run, and the products leave them the cores.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        for first, block in blocks:

            def search(chunk: slice, first: int = first, block: np.ndarray = block) -> None:
                space = spaces.get()
                try:
                    best[chunk] = space.updated(best[chunk], queries[chunk], block, first)
                finally:
                    spaces.put(space)

            list(pool.map(search, chunks))
    best.sort(axis=1)
    return best[:asked]


class _Space:
    """What a thread works in, for at most ``queries`` queries at once."""

    def __init__(self, queries: int, dimension: int, k: int) -> None:
        self.k = k
        self.passages = np.zeros((PASSAGES, dimension), np.float32)
        self.scores = np.empty((queries, PASSAGES), np.float32)
        self.above = np.empty((queries, PASSAGES), bool)
        self.keys = np.empty((queries, k + PASSAGES), np.int64)

    def updated(self, best: np.ndarray, queries: np.ndarray, passages: np.ndarray, first: int) -> np.ndarray:
        """The best ``k`` keys of each query so far, and of ``passages``, whose rows begin at ``first``; the last of each row is the k-th."""
        count, k = len(queries), self.k
        keys, scores, above = self.keys[:count], self.scores[:count], self.above[:count]
        keys[:, :k], keys[:, k:] = best, NOTHING
        filled, least = np.full(count, k), _score_of_last(best)
        for start in range(0, len(passages), PASSAGES):
            part = passages[start : start + PASSAGES]
            there = len(part)
            if there < PASSAGES:
                self.passages[:there] = part
                part = self.passages
            np.matmul(queries, part.T, out=scores)
            scores[:, there:] = -np.inf
            np.greater(scores, least, out=above)
            places = _where(above)
            if not len(places):
                continue
            found = np.bincount(places >> (PASSAGES.bit_length() - 1), minlength=count)
            if (filled + found).max() > keys.shape[1]:
                filled, least = self._settle(keys, filled)
            # Where each of them goes among the keys: behind those that its query has, in the order of the rows.
            own = np.arange(len(places)) + np.repeat(np.arange(count) * keys.shape[1] + filled - (np.cumsum(found) - found), found)
            keys.reshape(-1)[own] = keys_of(scores.reshape(-1)[places], (places & (PASSAGES - 1)) + (first + start))
            filled = filled + found
            if filled.mean() > 2 * k:
                filled, least = self._settle(keys, filled)
        if (filled > k).any():
            self._settle(keys, filled)
        return keys[:, :k]

    def _settle(self, keys: np.ndarray, filled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keep the best ``k`` keys of each query; returns how many there are and the score that others must exceed."""
        last = filled.max()
        keys[:, :last].partition(self.k - 1, axis=1)
        keys[:, self.k : last] = NOTHING
        return np.full(len(keys), self.k), _score_of_last(keys[:, : self.k])


def _score_of_last(best: np.ndarray) -> np.ndarray:
    """Shape (queries, 1); -inf where fewer than ``k`` were found."""
    return results_of(best[:, -1:])[1]


def _where(above: np.ndarray) -> np.ndarray:
    """As ``np.flatnonzero``, in a third of the time where little is true: by bytes of eight places first."""
    packed = np.packbits(above)
    bytes_there = np.flatnonzero(packed)
    bits = np.flatnonzero(np.unpackbits(packed[bytes_there]))
    return bytes_there[bits >> 3] * 8 + (bits & 7)
