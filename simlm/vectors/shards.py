"""Reader of embedded shards: one array over all of them, memory-mapped, after a check that they belong together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from simlm.errors import UserError
from simlm.files import read_manifest, sha256_file
from simlm.vectors.blocks import offsets_file
from simlm.vectors.vectors import Vectors

SAME = ("model_sha256", "corpus_sha256", "dimension", "dtype", "corpus_rows", "precision")
"""What all shards must agree on."""

SHAPE = {
    "model_sha256": str, "corpus_sha256": str, "dimension": int, "dtype": str, "corpus_rows": int, "precision": str, "first_row": int, "rows": int,
    "vectors": {"file": str, "bytes": int, "sha256": str},
}  # fmt: skip
"""What a shard's manifest must hold."""


class Shards:
    """All shards of one model.

    Parameters
    ----------
    folder
        ``Paths.embeddings(model)``.
    shards
        Number of shards.
    model_sha256, corpus_sha256
        If given, what the vectors must have been made from.

    Raises
    ------
    UserError
        If a shard is missing, truncated, or of another model, corpus or precision.
    """

    def __init__(self, folder: str | Path, shards: int, *, model_sha256: str | None = None, corpus_sha256: str | None = None) -> None:
        self.folder, self.model = Path(folder), Path(folder).name
        self.manifests = [self._manifest(shard, shards) for shard in range(1, shards + 1)]
        self._check_together()
        about = self.manifests[0]
        if model_sha256 is not None and about["model_sha256"] != model_sha256:
            raise UserError(f"{self.folder} was embedded with another model than the '{self.model}' that is there now; run {self._encode()} again")
        if corpus_sha256 is not None and about["corpus_sha256"] != corpus_sha256:
            raise UserError(f"{self.folder} was embedded from another corpus than the one that is there now; run {self._encode()} again")
        self.dimension: int = about["dimension"]
        self.rows: int = about["corpus_rows"]
        self.ragged: bool = "offsets" in about
        self._arrays = [self._vectors(shard, manifest) for shard, manifest in enumerate(self.manifests, 1)]
        self._offsets = [self._read_offsets(shard, manifest) if self.ragged else None for shard, manifest in enumerate(self.manifests, 1)]
        self._starts = np.array([manifest["first_row"] for manifest in self.manifests] + [self.rows])

    @property
    def vectors(self) -> int:
        """Number of all vectors."""
        return sum(len(array) for array in self._arrays)

    def blocks(self, size: int = 65536) -> Iterator[tuple[int, Vectors]]:
        """First row and fp32 vectors of consecutive blocks of at most ``size`` vectors (and at least one row), in row order."""
        for start, array, offsets in zip(self._starts, self._arrays, self._offsets):
            # Read instead of mapped: the pages of a map would stay in memory until all vectors are there.
            with open(array.filename, "rb") as stream:
                stream.seek(array.offset)
                for first, last, own in _cut(len(array), offsets, size):
                    count = last - first if own is None else int(own[-1])
                    block = np.fromfile(stream, array.dtype, count * self.dimension).reshape(count, self.dimension)
                    yield int(start) + first, Vectors(block.astype(np.float32, copy=False), own)

    def take(self, rows: np.ndarray) -> Vectors:
        """Vectors of ``rows``, which must be ascending; fp32."""
        nothing = np.zeros((0, self.dimension), np.float32)
        parts = [Vectors.ragged(nothing, []) if self.ragged else Vectors(nothing)]
        for start, end, array, offsets in zip(self._starts, self._starts[1:], self._arrays, self._offsets):
            inside = Vectors(array, offsets).take(rows[(rows >= start) & (rows < end)] - start)
            parts.append(Vectors(inside.values.astype(np.float32), inside.offsets))
        return Vectors.join(parts)

    def verify(self) -> None:
        """Compare the vectors with the digests in the manifests.

        Raises
        ------
        UserError
            Naming the first file that has changed since it was written.
        """
        for shard, manifest in enumerate(self.manifests, 1):
            file = self._file(shard)
            changed = sha256_file(file) != manifest["vectors"]["sha256"]
            if self.ragged and not changed:
                file = offsets_file(file)
                changed = sha256_file(file) != manifest["offsets"]["sha256"]
            if changed:
                raise UserError(f"{file} is not what its manifest describes (its sha256 differs); delete it and run {self._encode(shard)} again")

    def _file(self, shard: int) -> Path:
        """The vectors lie beside their manifest, whatever name a foreign one gives."""
        return self.folder / Path(self.manifests[shard - 1]["vectors"]["file"]).name

    def _encode(self, shard: int | None = None) -> str:
        count = len(getattr(self, "manifests", ())) or None
        return f"simlm encode --model {self.model}" + (f" --shard {shard}" if shard else "") + (f" --shards {count}" if shard and count else "")

    def _manifest(self, shard: int, shards: int) -> dict[str, Any]:
        file = self.folder / f"{shard}-of-{shards}.json"
        return read_manifest(file, "the manifest of an embedded shard", f"simlm encode --model {self.model} --shard {shard} --shards {shards}", SHAPE)

    def _check_together(self) -> None:
        expected, first = 0, self.manifests[0]
        for shard, manifest in enumerate(self.manifests, 1):
            if ("offsets" in manifest) != ("offsets" in first):
                raise UserError(f"{self.folder}: shard {shard} and shard 1 are of different kinds of vectors; run simlm encode for all shards again")
            for field in SAME:
                if manifest[field] != first[field]:
                    what = {"model_sha256": "another model", "corpus_sha256": "another corpus"}.get(field, f"another {field}")
                    raise UserError(f"{self.folder}: shard {shard} was embedded with {what} than shard 1; run simlm encode for all shards again")
            if manifest["first_row"] != expected:
                raise UserError(
                    f"{self.folder}: shard {shard} begins at row {manifest['first_row']:,} instead of {expected:,}; run simlm encode for all shards again"
                )
            expected += manifest["rows"]
        if expected != first["corpus_rows"]:
            raise UserError(f"{self.folder}: the shards hold {expected:,} rows of a corpus of {first['corpus_rows']:,}; run simlm encode for all shards again")

    def _vectors(self, shard: int, manifest: dict[str, Any]) -> np.ndarray:
        file = self._file(shard)
        again = f"delete it and run {self._encode(shard)} again"
        size = file.stat().st_size if file.exists() else 0
        if size != manifest["vectors"]["bytes"]:
            raise UserError(f"{file} is truncated or missing ({size:,} bytes instead of {manifest['vectors']['bytes']:,}); {again}")
        try:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{file} is not an array of vectors ({error}); {again}") from None
        rows = len(array) if self.ragged and array.ndim else manifest["rows"]
        if array.shape != (rows, manifest["dimension"]):
            raise UserError(f"{file} has the shape {array.shape} instead of ({rows}, {manifest['dimension']}); {again}")
        return array

    def _read_offsets(self, shard: int, manifest: dict[str, Any]) -> np.ndarray:
        file = offsets_file(self._file(shard))
        again = f"delete it and run {self._encode(shard)} again"
        try:
            offsets = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{file} is missing or not an array ({error}); {again}") from None
        fits = offsets.shape == (manifest["rows"] + 1,) and offsets.dtype == np.int64 and offsets[0] == 0 and (np.diff(offsets) >= 0).all()
        if not fits or offsets[-1] != len(self._arrays[shard - 1]):
            raise UserError(f"{file} does not say where the {manifest['rows']:,} passages of its shard have their vectors; {again}")
        return offsets


def _cut(vectors: int, offsets: np.ndarray | None, size: int) -> Iterator[tuple[int, int, np.ndarray | None]]:
    """First row, end, and offsets within the block, of consecutive blocks of at most ``size`` vectors."""
    if offsets is None:
        for first in range(0, vectors, size):
            yield first, min(first + size, vectors), None
        return
    first = 0
    while first < len(offsets) - 1:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + size, side="right")) - 1)
        yield first, last, offsets[first : last + 1] - offsets[first]
        first = last
