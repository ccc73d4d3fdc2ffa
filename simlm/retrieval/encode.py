"""Embedding of the corpus in shards.

The corpus is cut into blocks of :data:`BLOCK` rows and a shard is a run of whole blocks. A block is embedded the same way
whichever shard it falls into, so the vectors are the same bits for any number of shards. A killed job goes on after its last
finished block, and a finished shard of the same model, corpus and settings is never computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from simlm.errors import UserError
from simlm.files import sha256_file, sha256_text, write_json
from simlm.progress import progress, say

if TYPE_CHECKING:
    from simlm.corpus.store import CorpusStore
    from simlm.retrieval.encoder import TextEncoder

BLOCK = 1024
"""Rows that are tokenised, sorted by length and embedded together."""

DTYPES = {"fp32": np.float32, "fp16": np.float16}


def shard_rows(rows: int, shard: int, shards: int) -> tuple[int, int]:
    """First row and end (exclusive) of shard ``shard`` of ``shards`` (from 1): whole blocks, as evenly as they go.

    >>> [shard_rows(5000, shard, 2) for shard in (1, 2)]
    [(0, 2048), (2048, 5000)]
    >>> shard_rows(10, 1, 4), shard_rows(10, 4, 4)
    ((0, 0), (0, 10))
    """
    if not 1 <= shard <= shards:
        raise UserError(f"there is no shard {shard} of {shards}; shards are counted from 1")
    blocks = -(-rows // BLOCK)
    first, last = (blocks * part // shards for part in (shard - 1, shard))
    return min(first * BLOCK, rows), min(last * BLOCK, rows)


@dataclass(frozen=True)
class Shard:
    """The files and the identity of one shard.

    Attributes
    ----------
    manifest
        ``Paths.shard_manifest(model, shard, shards)``; the vectors lie beside it.
    first, last
        First row and end (exclusive).
    about
        What the vectors depend on; it goes into the manifest.
    """

    manifest: Path
    first: int
    last: int
    dtype: str
    dimension: int
    about: dict[str, Any]

    @property
    def vectors(self) -> Path:
        return self.manifest.with_suffix(".npy")

    @property
    def partial(self) -> Path:
        """Finished blocks of an unfinished shard."""
        return self.manifest.parent / f".{self.manifest.stem}.npy.partial"

    @property
    def journal(self) -> Path:
        """One line per finished block with its digest; the first line says what they belong to."""
        return self.manifest.parent / f".{self.manifest.stem}.journal"

    @property
    def key(self) -> str:
        """Hex digest of everything the vectors depend on."""
        return sha256_text(json.dumps([self.first, self.last, self.dtype, self.dimension, self.about], sort_keys=True))

    def blocks(self) -> list[tuple[int, int]]:
        """First row and end of each block."""
        return [(first, min(first + BLOCK, self.last)) for first in range(self.first, self.last, BLOCK)]

    def header(self) -> bytes:
        """The ``.npy`` header of the whole shard."""
        from io import BytesIO

        stream = BytesIO()
        described = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(DTYPES[self.dtype])),
            "fortran_order": False,
            "shape": (self.last - self.first, self.dimension),
        }
        np.lib.format.write_array_header_1_0(stream, described)
        return stream.getvalue()


def encode_shard(encoder: TextEncoder, store: CorpusStore, manifest: Path, shard: int, shards: int, dtype: str = "fp32") -> dict[str, Any]:
    """Embed one shard of the corpus, or keep it if it is there already.

    Parameters
    ----------
    manifest
        Where the shard's manifest goes, such as ``embeddings/distilled/1-of-2.json``; the vectors are written beside it as ``.npy``,
        shape (rows of the shard, dimension).
    shard, shards
        Which part of the corpus, from 1.
    dtype
        ``fp32`` or ``fp16``.

    Returns
    -------
    dict
        The manifest.
    """
    first, last = shard_rows(len(store), shard, shards)
    about = _identity(encoder, store)
    part = Shard(Path(manifest), first, last, dtype, encoder.dimension, about)
    there = _finished(part)
    if there:
        say(f"{part.vectors} holds rows {first:,} to {last:,} of this model and corpus already.")
        return there
    part.manifest.parent.mkdir(parents=True, exist_ok=True)
    part.manifest.unlink(missing_ok=True)
    try:
        resumed, seconds = _write_blocks(part, encoder, store)
        os.replace(part.partial, part.vectors)
    except OSError as error:
        raise UserError(
            f"{part.vectors}: cannot be written ({error.strerror or error}); free space and run the command again, it goes on from there"
        ) from error
    rows = last - first
    described = {
        "key": part.key,
        "first_row": first,
        "last_row": last - 1,
        "rows": rows,
        "corpus_rows": len(store),
        "shard": shard,
        "shards": shards,
        "dimension": encoder.dimension,
        "dtype": dtype,
        **about,
        "vectors": {"file": part.vectors.name, "bytes": part.vectors.stat().st_size, "sha256": sha256_file(part.vectors)},
        "passages_per_second": round((rows - resumed) / seconds, 1) if seconds else 0.0,
        "resumed_rows": resumed,
    }
    write_json(part.manifest, described)
    part.journal.unlink(missing_ok=True)
    return described


def _identity(encoder: TextEncoder, store: CorpusStore) -> dict[str, Any]:
    """What the vectors depend on, beside their rows and type."""
    return {
        "model_sha256": encoder.sha256,
        "tokenizer_sha256": sha256_text(encoder.tokenizer.backend_tokenizer.to_str()),
        "corpus_sha256": store.sha256,
        "passage_length": encoder.lengths["passage"],
        "batch_size": encoder.batch_size,
        "block": BLOCK,
        "precision": encoder.precision.name,
        "device": encoder.device.type,
    }


def _finished(part: Shard) -> dict[str, Any] | None:
    """Manifest of the shard if it is complete, undamaged and of the same key."""
    try:
        manifest = json.loads(part.manifest.read_text(encoding="utf-8"))
        whole = manifest["key"] == part.key and part.vectors.stat().st_size == manifest["vectors"]["bytes"]
        return manifest if whole and sha256_file(part.vectors) == manifest["vectors"]["sha256"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_blocks(part: Shard, encoder: TextEncoder, store: CorpusStore) -> tuple[int, float]:
    """Append the missing blocks; returns the rows that were there already and the seconds that the others took."""
    blocks = part.blocks()
    done = _resume(part)
    resumed = blocks[done - 1][1] - part.first if done else 0
    if done:
        say(f"Going on after {resumed:,} of {part.last - part.first:,} rows that an earlier run embedded.")
    start = time.monotonic()
    with open(part.partial, "ab") as vectors, open(part.journal, "a", encoding="utf-8") as journal:
        for first, last in progress(blocks[done:], len(blocks) - done, "Encoding passages", unit=f"blocks of {BLOCK}"):
            batch = next(store.iter_batches(first, last, last - first))
            data = np.ascontiguousarray(encoder.passages(batch.titles, batch.texts).astype(DTYPES[part.dtype], copy=False)).data
            vectors.write(data)
            vectors.flush()
            journal.write(json.dumps({"first": first, "sha256": hashlib.sha256(data).hexdigest()}) + "\n")
            journal.flush()
        os.fsync(vectors.fileno())
    return resumed, time.monotonic() - start


def _resume(part: Shard) -> int:
    """Number of blocks of the unfinished shard that are whole; what follows them is cut off.

    A journal of another key (another model, corpus or setting), or none, starts anew.
    """
    header, width = part.header(), np.dtype(DTYPES[part.dtype]).itemsize * part.dimension
    lines: list[str] = []
    try:
        opening, *lines = part.journal.read_text(encoding="utf-8").splitlines()
        if json.loads(opening).get("key") != part.key:
            lines = []
        with open(part.partial, "rb") as stream:
            if stream.read(len(header)) != header:
                lines = []
            whole = len(list(takewhile(lambda pair: _is_whole(stream, *pair, width), zip(part.blocks(), lines))))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        whole = 0
    end = part.blocks()[whole - 1][1] if whole else part.first
    with open(part.partial, "r+b" if whole else "wb") as stream:
        if whole:
            stream.truncate(len(header) + (end - part.first) * width)
        else:
            stream.write(header)
    part.journal.write_text("\n".join([json.dumps({"key": part.key}), *lines[:whole]]) + "\n", encoding="utf-8")
    return whole


def _is_whole(stream: IO[bytes], rows: tuple[int, int], line: str, width: int) -> bool:
    """Whether the next block of a partial file is the one that a line of the journal describes."""
    entry = json.loads(line)
    return entry["first"] == rows[0] and hashlib.sha256(stream.read((rows[1] - rows[0]) * width)).hexdigest() == entry["sha256"]
