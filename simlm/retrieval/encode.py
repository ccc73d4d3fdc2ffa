"""Embedding of the corpus in shards.

The corpus is cut into blocks of :data:`BLOCK` rows and a shard is a run of whole blocks. A block is embedded the same way
whichever shard it falls into and whichever process computes it, so the vectors are the same bits for any number of shards
and processes. A killed job goes on with the blocks that are missing, however many processes it had and has, and a finished
shard of the same model, corpus, settings and code is never computed again.
"""

from __future__ import annotations

import functools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simlm import processes
from simlm.config.code import fingerprint
from simlm.errors import UserError
from simlm.files import sha256_file, sha256_text, write_json, write_text
from simlm.metering import meter
from simlm.progress import progress, say
from simlm.text.token_blocks import token_blocks
from simlm.text.token_cache import TokenCache, tokenizer_digest
from simlm.vectors.blocks import DenseBlocks, RaggedBlocks, offsets_file
from simlm.vectors.shards import Shards
from simlm.vectors.vectors import Vectors
from simlm.walltime import Clock

if TYPE_CHECKING:
    from simlm.corpus.store import CorpusStore
    from simlm.retrieval.encoder import TextEncoder

BLOCK = 1024
"""Rows that are tokenised, sorted by length and embedded together."""


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
    ragged
        Whether a row has any number of vectors instead of one.
    embedder
        Module of what embeds.
    """

    manifest: Path
    first: int
    last: int
    dtype: str
    dimension: int
    about: dict[str, Any]
    ragged: bool = False
    embedder: str = "simlm.retrieval.encoder"

    @property
    def vectors(self) -> Path:
        return self.manifest.with_suffix(".npy")

    @functools.cached_property
    def files(self) -> DenseBlocks | RaggedBlocks:
        """Where the blocks lie until all are there."""
        kind = RaggedBlocks if self.ragged else DenseBlocks
        return kind(self.vectors, self.first, self.last, self.dimension, self.dtype)

    @property
    def journal(self) -> Path:
        """One line per finished block with its digest; the first line says what they belong to. It stays when the shard is finished."""
        return self.manifest.parent / f".{self.manifest.stem}.journal"

    @property
    def journals(self) -> list[Path]:
        """That of the main process, and those of the others."""
        return [self.journal, *sorted(self.journal.parent.glob(f"{self.journal.name}-*"))]

    @property
    def key(self) -> str:
        """Hex digest of everything the vectors depend on."""
        code = fingerprint("simlm.retrieval.encode", self.embedder)
        about = [self.first, self.last, self.dtype, self.dimension, self.about, code, *(["ragged"] if self.ragged else [])]
        return sha256_text(json.dumps(about, sort_keys=True))

    def blocks(self) -> list[tuple[int, int]]:
        """First row and end of each block."""
        return [(first, min(first + BLOCK, self.last)) for first in range(self.first, self.last, BLOCK)]


def encode_shard(encoder: TextEncoder, store: CorpusStore, tokens: Path, manifest: Path, shard: int, shards: int, dtype: str = "fp32") -> dict[str, Any]:
    """Embed one shard of the corpus, or keep it if it is there already.

    Parameters
    ----------
    tokens
        ``Paths.tokens``: what a training has tokenized is not tokenized again.
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
    part = _shard(encoder, store, manifest, shard, shards, dtype)
    there = processes.from_main(_finished(part) if processes.is_main() else None)
    if there:
        say(f"{part.vectors} holds rows {part.first:,} to {part.last:,} of this model and corpus already.")
        return there
    part.manifest.parent.mkdir(parents=True, exist_ok=True)
    try:
        resumed, seconds = _write_blocks(part, encoder, TokenCache(store, encoder.tokenizer, encoder.lengths["passage"], tokens, encoder.reader.reading))
        if processes.is_main():
            part.files.finish(part.blocks())
    except OSError as error:
        raise UserError(
            f"{part.vectors}: cannot be written ({error.strerror or error}); free space and run the command again, it goes on from there"
        ) from error
    if processes.is_main():
        write_json(part.manifest, _described(part, encoder, store, (shard, shards), resumed, seconds))
    processes.wait()
    return json.loads(part.manifest.read_text(encoding="utf-8"))


def encode_further(encoder: TextEncoder, store: CorpusStore, tokens: Path, manifest: Path, before: Shards, dtype: str) -> dict[str, Any]:
    """Embed a corpus in one shard that begins with a smaller one, whose vectors are there: the same bits as :func:`encode_shard`.

    Blocks that were full are taken over; the last one is embedded again with the passages that fill it up.

    Parameters
    ----------
    before
        The vectors of the smaller corpus.
    """
    part = _shard(encoder, store, manifest, 1, 1, dtype)
    about = before.manifests[0]
    if different := [name for name in ("precision", "device", "batch_size", "dtype") if about.get(name) != {**part.about, "dtype": dtype}[name]]:
        said = ", ".join(f"{name} {about.get(name)}" for name in different)
        say(f"{before.folder} was embedded with {said}, the further passages are not: these vectors are not the same bits as if all were embedded now.")
    if not _finished(part):
        part.manifest.parent.mkdir(parents=True, exist_ok=True)
        done = _resume(part)
        with part.files.writing() as files, open(part.journal, "a", encoding="utf-8") as journal:
            for first, last in part.blocks():
                if first not in done and last <= whole_rows(before.rows, len(store)):
                    digest = files.write(first, before.take(np.arange(first, last)))
                    journal.write(json.dumps({"first": first, "sha256": digest}) + "\n")
    return encode_shard(encoder, store, tokens, manifest, 1, 1, dtype)


def whole_rows(before: int, rows: int) -> int:
    """Rows of a corpus of ``before`` passages whose blocks stay the same when it grows to ``rows``.

    >>> whole_rows(5000, 5100), whole_rows(5000, 5000)
    (4096, 5000)
    """
    return before if rows == before else before // BLOCK * BLOCK


def _shard(encoder: TextEncoder, store: CorpusStore, manifest: Path, shard: int, shards: int, dtype: str) -> Shard:
    first, last = shard_rows(len(store), shard, shards)
    return Shard(Path(manifest), first, last, dtype, encoder.dimension, _identity(encoder, store), encoder.ragged, type(encoder).__module__)


def _described(part: Shard, encoder: TextEncoder, store: CorpusStore, which: tuple[int, int], resumed: int, seconds: float) -> dict[str, Any]:
    """The manifest of a finished shard."""
    rows = part.last - part.first
    return {
        "key": part.key,
        "first_row": part.first,
        "last_row": part.last - 1,
        "rows": rows,
        "corpus_rows": len(store),
        "shard": which[0],
        "shards": which[1],
        "dimension": encoder.dimension,
        "dtype": part.dtype,
        **part.about,
        "vectors": _file(part.vectors),
        **({"offsets": _file(offsets_file(part.vectors))} if part.ragged else {}),
        "passages_per_second": round((rows - resumed) / seconds, 1) if seconds else 0.0,
        "resumed_rows": resumed,
    }


def _file(file: Path) -> dict[str, Any]:
    return {"file": file.name, "bytes": file.stat().st_size, "sha256": sha256_file(file)}


def _identity(encoder: TextEncoder, store: CorpusStore) -> dict[str, Any]:
    """What the vectors depend on, beside their rows and type."""
    return {
        "model_sha256": encoder.sha256,
        "tokenizer_sha256": tokenizer_digest(encoder.tokenizer),
        "corpus_sha256": store.sha256,
        "passage_length": encoder.lengths["passage"],
        "batch_size": encoder.batch_size,
        "block": BLOCK,
        "precision": encoder.precision.name,
        **({"packing": True} if encoder.packed else {}),
        "device": encoder.device.type,
    }


def _finished(part: Shard) -> dict[str, Any] | None:
    """Manifest of the shard if it is complete, undamaged and of the same key."""
    try:
        manifest = json.loads(part.manifest.read_text(encoding="utf-8"))
        files = {"vectors": part.vectors, **({"offsets": offsets_file(part.vectors)} if part.ragged else {})}
        whole = manifest["key"] == part.key and all(file.stat().st_size == manifest[name]["bytes"] for name, file in files.items())
        return manifest if whole and all(sha256_file(file) == manifest[name]["sha256"] for name, file in files.items()) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_blocks(part: Shard, encoder: TextEncoder, cache: TokenCache) -> tuple[int, float]:
    """Write the missing blocks; returns the rows that were there already and the seconds that the others took."""
    if processes.is_main():
        part.manifest.unlink(missing_ok=True)
    done = set(processes.from_main(sorted(_resume(part)) if processes.is_main() else []))
    resumed = sum(last - first for first, last in part.blocks() if first in done)
    if done:
        say(f"Going on after {resumed:,} of {part.last - part.first:,} rows that an earlier run embedded.")
    missing = [block for block in part.blocks() if block[0] not in done][processes.rank() :: processes.count()]
    journal_file = part.journal if processes.is_main() else part.journal.with_name(f"{part.journal.name}-{processes.rank()}")
    start, clock = time.monotonic(), Clock.of_this_job()
    with meter().working(), part.files.writing() as files, open(journal_file, "a", encoding="utf-8") as journal:
        if not processes.is_main():
            journal.write(json.dumps({"key": part.key}) + "\n")
        tokens = token_blocks(cache, missing, encoder.device.type)
        for (first, _), own in progress(zip(missing, tokens), len(missing), "Encoding passages", unit=f"blocks of {BLOCK}"):
            if first != missing[0][0]:  # whatever the time, an attempt gets on by a block
                clock.check(f"shard {part.manifest.stem}, before row {first:,}")
            digest = files.write(first, Vectors.of(encoder.embed(own)))
            meter().units += len(own)
            journal.write(json.dumps({"first": first, "sha256": digest}) + "\n")
            journal.flush()
            clock.piece_done()
    processes.wait()
    return resumed, time.monotonic() - start


def _resume(part: Shard) -> set[int]:
    """First rows of the blocks that are whole; one journal names them afterwards.

    Journals of another key (another model, corpus, setting or code), or none, start anew.
    """
    digests = {first: sha256 for journal in part.journals for first, sha256 in _entries(journal, part.key).items()}
    whole = part.files.resume(part.blocks(), digests)
    lines = [{"key": part.key}, *({"first": first, "sha256": digests[first]} for first in sorted(whole))]
    write_text(part.journal, "".join(json.dumps(line) + "\n" for line in lines))
    for journal in part.journals[1:]:
        journal.unlink()
    return whole


def _entries(journal: Path, key: str) -> dict[int, str]:
    """First row and digest of each line of a journal that belongs to ``key``; a torn line and those after it are left out."""
    found: dict[int, str] = {}
    try:
        opening, *lines = journal.read_text(encoding="utf-8").splitlines()
        if json.loads(opening)["key"] == key:
            for line in lines:
                entry = json.loads(line)
                found[int(entry["first"])] = str(entry["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return found
