"""Files in which the blocks of an unfinished shard lie until it is whole.

The place of a dense block is known beforehand, so all blocks are written into the shard's file, by however many processes. How many
vectors a ragged block has is known only when it is embedded: it is a file of its own, and they are joined in the end.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np

from simlm.durable import put_file
from simlm.files import atomic_file
from simlm.vectors.vectors import Vectors

DTYPES = {"fp32": np.float32, "fp16": np.float16}


def npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """The header of a ``.npy`` file."""
    stream = BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    return stream.getvalue()


class DenseBlocks:
    """Blocks of a shard with one vector per row.

    Parameters
    ----------
    vectors
        The shard's ``.npy`` file.
    first, last
        First row and end (exclusive).
    """

    def __init__(self, vectors: Path, first: int, last: int, dimension: int, dtype: str) -> None:
        self.vectors, self.first, self.last = vectors, first, last
        self.dtype = np.dtype(DTYPES[dtype])
        self.row_bytes = self.dtype.itemsize * dimension
        self.header = npy_header(self.dtype, (last - first, dimension))
        self.partial = vectors.parent / f".{vectors.name}.partial"

    def place(self, row: int) -> int:
        """Where the vector of a row begins in the file."""
        return len(self.header) + (row - self.first) * self.row_bytes

    def resume(self, blocks: list[tuple[int, int]], digests: dict[int, str]) -> set[int]:
        """First rows of the blocks that are there as ``digests`` say; the file has its full length afterwards."""
        if not self.partial.exists() and self.vectors.exists():
            # Finished, but the manifest is gone: Snakemake deletes it when it does not know that the job had ended.
            os.replace(self.vectors, self.partial)
        self.partial.touch()
        whole: set[int] = set()
        with open(self.partial, "r+b") as stream:
            if stream.read(len(self.header)) == self.header:
                whole = {first for first, last in blocks if first in digests and self._digest(stream, first, last) == digests[first]}
            stream.seek(0)
            stream.write(self.header)
            stream.truncate(self.place(self.last))
        return whole

    @contextmanager
    def writing(self) -> Iterator[DenseBlocks]:
        """Blocks may be written inside; they have reached the disk at its end."""
        with open(self.partial, "r+b") as self._stream:
            yield self
            os.fsync(self._stream.fileno())

    def write(self, first: int, vectors: Vectors) -> str:
        """Write the block that begins at row ``first``; returns its digest."""
        data = np.ascontiguousarray(vectors.values.astype(self.dtype, copy=False)).data
        self._stream.seek(self.place(first))
        self._stream.write(data)
        self._stream.flush()
        return hashlib.sha256(data).hexdigest()

    def finish(self, blocks: list[tuple[int, int]]) -> None:
        """Put the whole shard into its place."""
        put_file(self.partial, self.vectors)

    def _digest(self, stream: IO[bytes], first: int, last: int) -> str:
        stream.seek(self.place(first))
        return hashlib.sha256(stream.read((last - first) * self.row_bytes)).hexdigest()


class RaggedBlocks:
    """Blocks of a shard with any number of vectors per row; ``<shard>.offsets.npy`` lies beside its vectors."""

    def __init__(self, vectors: Path, first: int, last: int, dimension: int, dtype: str) -> None:
        self.vectors, self.offsets, self.dimension = vectors, offsets_file(vectors), dimension
        self.dtype = np.dtype(DTYPES[dtype])
        self.folder = vectors.parent / f".{vectors.name}.parts"

    def resume(self, blocks: list[tuple[int, int]], digests: dict[int, str]) -> set[int]:
        """As :meth:`DenseBlocks.resume`."""
        self.folder.mkdir(exist_ok=True)
        if self.vectors.exists() and self.offsets.exists():
            self._part(blocks)
        self.vectors.unlink(missing_ok=True)
        return {first for first, _ in blocks if first in digests and self._digest(first) == digests[first]}

    @contextmanager
    def writing(self) -> Iterator[RaggedBlocks]:
        """As :meth:`DenseBlocks.writing`."""
        yield self

    def write(self, first: int, vectors: Vectors) -> str:
        """As :meth:`DenseBlocks.write`; the number of vectors of each row comes before them."""
        values = np.ascontiguousarray(vectors.values.astype(self.dtype, copy=False))
        data = vectors.lengths.astype(np.int32).tobytes() + values.tobytes()
        with open(self._file(first), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        return hashlib.sha256(data).hexdigest()

    def finish(self, blocks: list[tuple[int, int]]) -> None:
        """Join the blocks; one of them is in memory at a time."""
        lengths = np.concatenate([np.zeros(0, np.int32), *(np.fromfile(self._file(first), np.int32, last - first) for first, last in blocks)])
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        with atomic_file(self.offsets) as temporary, open(temporary, "wb") as stream:
            np.save(stream, offsets)
        with atomic_file(self.vectors) as temporary, open(temporary, "wb") as stream:
            stream.write(npy_header(self.dtype, (int(offsets[-1]), self.dimension)))
            for first, last in blocks:
                stream.write(self._file(first).read_bytes()[4 * (last - first) :])
        shutil.rmtree(self.folder)

    def _file(self, first: int) -> Path:
        return self.folder / str(first)

    def _digest(self, first: int) -> str | None:
        file = self._file(first)
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None

    def _part(self, blocks: list[tuple[int, int]]) -> None:
        """Cut a finished shard into its blocks again; what cannot be read is left out."""
        try:
            whole = Vectors(np.load(self.vectors, mmap_mode="r", allow_pickle=False), np.load(self.offsets, allow_pickle=False))
            for first, last in blocks:
                start = first - blocks[0][0]
                self.write(first, whole[start : start + last - first])
        except (OSError, ValueError, IndexError):
            pass


def offsets_file(vectors: Path) -> Path:
    """Where the offsets of ragged vectors lie."""
    return vectors.with_suffix(".offsets.npy")
