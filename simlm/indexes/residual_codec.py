"""Residual compression of token vectors: the nearest of many centroids, and some bits per number of what is left (ColBERTv2, section 3.3).

Each number of a residual falls into one of 2^bits buckets, whose borders are quantiles of a sample's residuals; the quantile in the
middle of a bucket stands for it. Buckets of several numbers share a byte, the first number in its highest bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simlm.indexes.faiss_index import faiss_threads

AT_ONCE = 65_536
"""Vectors that are compressed together."""
ON_DEVICE = 8192
"""Vectors that a device compares with all centroids at once; with 2^18 of these 8 GiB of numbers."""


def pack(buckets: np.ndarray, bits: int) -> np.ndarray:
    """Bytes of bucket numbers.

    Parameters
    ----------
    buckets
        Integers below 2^bits, shape (vectors, dimension).
    bits
        1, 2 or 4.

    Returns
    -------
    numpy.ndarray
        uint8, shape (vectors, ceil(dimension × bits / 8)).

    >>> pack(np.array([[1, 2, 3, 0, 2]]), 2).tolist()  # 01 10 11 00, and 10 with six bits left over
    [[108, 128]]
    """
    vectors, dimension = buckets.shape
    each = 8 // bits
    padded = np.zeros((vectors, -(-dimension // each) * each), np.uint8)
    padded[:, :dimension] = buckets
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    return np.bitwise_or.reduce(padded.reshape(vectors, -1, each) << shifts, axis=2)


def unpack(packed: np.ndarray, bits: int, dimension: int) -> np.ndarray:
    """The bucket numbers (uint8, shape (vectors, dimension)) that :func:`pack` was given.

    >>> unpack(np.array([[108, 128]], np.uint8), 2, 5).tolist()
    [[1, 2, 3, 0, 2]]
    """
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    spread = (packed[:, :, None] >> shifts) & np.uint8(2**bits - 1)
    return spread.reshape(len(packed), -1)[:, :dimension]


@dataclass(frozen=True)
class ResidualCodec:
    """Compresses unit vectors.

    Attributes
    ----------
    centroids
        Unit vectors, fp32, shape (centroids, dimension).
    borders, values
        Borders between the buckets of a residual's numbers, fp32, shape (2^bits - 1,), and what each bucket stands for, shape (2^bits,).

    >>> codec = ResidualCodec(np.eye(2, dtype=np.float32), np.zeros(1, np.float32), np.array([-0.3, 0.3], np.float32))
    >>> codes, residuals = codec.compress(np.array([[0.8, 0.6]], np.float32))  # nearest to the first; left over are -0.2 and 0.6
    >>> codes.tolist(), residuals.tolist()
    ([0], [[64]])
    >>> print(codec.decompress(codes, residuals).round(3))  # (1 - 0.3, 0 + 0.3), made a unit vector
    [[0.919 0.394]]
    """

    centroids: np.ndarray
    borders: np.ndarray
    values: np.ndarray

    @classmethod
    def fit(cls, centroids: np.ndarray, sample: np.ndarray, bits: int, threads: int = 1, device: str | None = None) -> ResidualCodec:
        """The codec of these centroids, with buckets from the residuals of ``sample``: vectors that did not make the centroids."""
        codes = nearest(centroids, sample, threads, device)
        residuals = (sample - centroids[codes]).ravel()
        places = np.arange(2**bits, dtype=np.float64) / 2**bits
        quantiles = np.quantile(residuals, [*places[1:], *(places + 0.5 / 2**bits)]).astype(np.float32)
        return cls(np.asarray(centroids, np.float32), quantiles[: 2**bits - 1], quantiles[2**bits - 1 :])

    @property
    def bits(self) -> int:
        """Bits per number of a residual."""
        return len(self.values).bit_length() - 1

    def compress(self, vectors: np.ndarray, threads: int = 1, device: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Codes (int32, shape (vectors,)) and packed residuals (uint8, shape (vectors, bytes)) of fp32 vectors."""
        codes = nearest(self.centroids, vectors, threads, device)
        return codes, pack(np.searchsorted(self.borders, vectors - self.centroids[codes]), self.bits)

    def decompress(self, codes: np.ndarray, residuals: np.ndarray) -> np.ndarray:
        """Unit vectors: the centroid and what its buckets stand for, L2-normalised; fp32, shape (vectors, dimension)."""
        vectors = self.centroids[codes] + self.values[unpack(residuals, self.bits, self.centroids.shape[1])]
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def nearest(centroids: np.ndarray, vectors: np.ndarray, threads: int = 1, device: str | None = None) -> np.ndarray:
    """The centroid with the largest inner product, of each vector; int32. ``device`` is torch's name of one that multiplies; None: faiss."""
    if device is not None:
        import torch

        columns = torch.from_numpy(np.ascontiguousarray(centroids, np.float32)).to(device).T
        parts = np.array_split(vectors, max(1, -(-len(vectors) // ON_DEVICE)))
        found = [(torch.from_numpy(np.ascontiguousarray(part, np.float32)).to(device) @ columns).argmax(1).cpu().numpy() for part in parts]
        return np.concatenate(found).astype(np.int32)
    import faiss

    index = faiss.IndexFlatIP(centroids.shape[1])
    index.add(np.ascontiguousarray(centroids, np.float32))
    found = np.empty(len(vectors), np.int32)
    with faiss_threads(threads):
        for start in range(0, len(vectors), AT_ONCE):
            found[start : start + AT_ONCE] = index.search(np.ascontiguousarray(vectors[start : start + AT_ONCE], np.float32), 1)[1][:, 0]
    return found


def clustered(sample: np.ndarray, centroids: int, iterations: int, seed: int, threads: int = 1, device: str | None = None) -> np.ndarray:
    """Unit centroids of unit vectors by spherical k-means, faiss's or on a device; fp32, shape (centroids, dimension)."""
    if device is not None:
        return _clustered_on_device(sample, centroids, iterations, seed, device)
    import faiss

    with faiss_threads(threads):
        kmeans = faiss.Kmeans(sample.shape[1], centroids, niter=iterations, seed=seed, spherical=True, max_points_per_centroid=10**9, min_points_per_centroid=1)
        kmeans.train(np.ascontiguousarray(sample, np.float32))
    return kmeans.centroids


def _clustered_on_device(sample: np.ndarray, centroids: int, iterations: int, seed: int, device: str) -> np.ndarray:
    """The vectors go to the device a part at a time; a centroid without a vector becomes a random one."""
    import torch

    draw = np.random.default_rng(seed)
    found = sample[np.sort(draw.choice(len(sample), centroids, replace=False))].astype(np.float32)
    for _ in range(iterations):
        codes, sums = torch.from_numpy(nearest(found, sample, device=device)).to(device).long(), torch.zeros(found.shape, device=device)
        for start in range(0, len(sample), AT_ONCE):
            sums.index_add_(0, codes[start : start + AT_ONCE], torch.from_numpy(sample[start : start + AT_ONCE].astype(np.float32)).to(device))
        found = torch.nn.functional.normalize(sums, dim=1).cpu().numpy()
        empty = np.flatnonzero(~found.any(1))
        found[empty] = sample[draw.choice(len(sample), len(empty), replace=False)]
    return found
