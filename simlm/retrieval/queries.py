"""Vectors of the queries of a split, embedded beside the passages so that a search needs neither the model nor its library.

The job that embeds the first shard leaves them. A search that finds none, or those of another model, other queries, settings or
code, embeds them itself and leaves them for the next. They are the same bits either way.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simlm.config.code import fingerprint
from simlm.files import atomic_file, sha256_file, sha256_text, write_json
from simlm.models.manifest import identity_of, read_manifest
from simlm.progress import progress, say
from simlm.vectors.blocks import offsets_file
from simlm.vectors.vectors import Vectors

if TYPE_CHECKING:
    from simlm.corpus.store import CorpusStore
    from simlm.retrieval.encoder import TextEncoder

QUERIES_AT_ONCE = 1024
"""Queries that are tokenised, sorted by length and embedded together."""


@dataclass(frozen=True)
class QueryVectors:
    """Queries of a split and their vectors.

    Attributes
    ----------
    ids
        Query ids, in the order of the split.
    vectors
        fp32; mapped from the disk.
    """

    ids: list[str]
    vectors: Vectors

    def __len__(self) -> int:
        return len(self.ids)


def query_vectors(folder: Path, store: CorpusStore, split: str, model: Path, settings: dict[str, Any], encoder: Callable[[], TextEncoder]) -> QueryVectors:
    """The vectors of a split's queries; they are embedded if ``folder`` does not hold them yet.

    Parameters
    ----------
    folder
        ``Paths.embeddings(name)``.
    model
        ``Paths.model(name)``.
    settings
        Everything else that the vectors depend on: the settings of the embedding.
    encoder
        Gives the model; called only where something must be embedded.
    """
    queries = store.queries(split)
    key = _key(model, queries, settings)
    file, manifest = folder / f"queries.{split}.npy", folder / f"queries.{split}.json"
    if not _is_there(file, manifest, key):
        say(f"Embedding the {len(queries):,} queries of {split}.")
        with atomic_file(file) as temporary:
            offsets = _embed(encoder(), list(queries.values()), temporary)
        if offsets is not None:
            with atomic_file(offsets_file(file)) as temporary, open(temporary, "wb") as stream:
                np.save(stream, offsets)
        files = {"vectors": file} | ({"offsets": offsets_file(file)} if offsets is not None else {})
        described = {name: {"file": one.name, "bytes": one.stat().st_size, "sha256": sha256_file(one)} for name, one in files.items()}
        write_json(manifest, {"key": key, "queries": len(queries), **described})
    ragged = "offsets" in json.loads(manifest.read_text(encoding="utf-8"))
    return QueryVectors(list(queries), Vectors(np.load(file, mmap_mode="r"), np.load(offsets_file(file)) if ragged else None))


def _key(model: Path, queries: dict[str, str], settings: dict[str, Any]) -> str:
    """Hex digest of everything the vectors depend on."""
    manifest, tokenizer = read_manifest(model), model / "tokenizer.json"
    about = [identity_of(manifest), manifest["lengths"], sha256_file(tokenizer) if tokenizer.exists() else None]
    about += [settings, QUERIES_AT_ONCE, fingerprint("simlm.retrieval.queries")]
    return sha256_text(json.dumps([about, list(queries.items())], sort_keys=True))


def _is_there(file: Path, manifest: Path, key: str) -> bool:
    try:
        about = json.loads(manifest.read_text(encoding="utf-8"))
        files = {"vectors": file} | ({"offsets": offsets_file(file)} if "offsets" in about else {})
        return about["key"] == key and all(sha256_file(one) == about[name]["sha256"] for name, one in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _embed(encoder: TextEncoder, texts: list[str], file: Path) -> np.ndarray | None:
    """Write the vectors; returns the offsets of ragged ones."""
    starts = range(0, len(texts), QUERIES_AT_ONCE)
    blocks = progress(starts, len(starts), "Embedding queries", unit="blocks of queries")
    embedded = (Vectors.of(encoder.queries(texts[first : first + QUERIES_AT_ONCE])) for first in blocks)
    if encoder.ragged:  # a few dozen vectors per query
        whole = Vectors.join([Vectors.ragged(np.zeros((0, encoder.dimension), np.float32), []), *embedded])
        with open(file, "wb") as stream:
            np.save(stream, whole.values.astype(np.float32, copy=False))
        return whole.offsets
    vectors, first = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(len(texts), encoder.dimension)), 0
    for block in embedded:
        vectors[first : first + len(block)] = block.values
        first += len(block)
    vectors.flush()
    return None
