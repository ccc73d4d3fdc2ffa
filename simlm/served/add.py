"""Passages are added to what an experiment has embedded and indexed: nothing is trained, and what is embedded already is taken over.

The result is what the workflow would make of the larger corpus. Vectors are the same bits: blocks of the corpus that are full stay as they are,
and the last one, which was not, is embedded again with the passages that fill it up, because the neighbours of a text in its batch decide how
far it is padded and so may decide the last bits. What an index has learned (cells, centroids) stays; only vectors are added to it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from simlm import hardware
from simlm.config.graph import headline_system
from simlm.config.kinds.bm25 import LEXICAL
from simlm.context import Context
from simlm.corpus.records import Passage, Records
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.corpus.texts import passages_in
from simlm.durable import put_folder
from simlm.errors import UserError
from simlm.files import write_json
from simlm.indexes.base import Place
from simlm.lexical.bm25 import Bm25Index, passages_of
from simlm.models.manifest import model_fingerprint
from simlm.paths import Paths
from simlm.progress import say
from simlm.retrieval.encode import encode_further, whole_rows
from simlm.retrieval.prepared import prepared_encoder
from simlm.retrieval.search import index_for
from simlm.served.collection import MANIFEST, Collection, parts_of, read_served


def add(context: Context, file: Path | None, systems: list[str]) -> dict[str, Any]:
    """Make the served collection of an experiment, or a larger one in its place; returns its manifest.

    Everything is made beside it and put into its place in one step. A killed call leaves what was there, and the next one goes on.

    Parameters
    ----------
    file
        The new passages (:func:`~simlm.corpus.texts.passages_in`); None: none, to take in more systems or to follow a model that was trained again.
    systems
        Systems that shall find them, beside those that the collection has already.

    Raises
    ------
    UserError
        If a passage has the id of another, the experiment lacks what the systems need, or another call is at it.
    """
    experiment, paths = context.experiment, context.paths
    context.require_belonging()
    work = Paths(paths.root / ".adding")
    try:
        with FileLock(paths.root / ".adding.lock", timeout=0):
            served = read_served(paths)
            names = list(dict.fromkeys([*(served["systems"] if served else ()), *systems]))
            names = [name for name in names if name in experiment.systems] or [headline_system(experiment)]
            parts = parts_of(experiment, names)
            _require(context, parts)
            started = time.monotonic()
            base, files = CorpusStore(paths.corpus), list(served["files"]) if served else []
            earlier = CorpusStore(Paths(paths.served).corpus) if served else None
            first = served["base"]["passages"] if served else 0
            _write(base, earlier, first, file, work.corpus)
            store = CorpusStore(work.corpus)
            added = len(store) - len(base) - (len(earlier) - first if earlier else 0)
            files += [{"file": str(file), "passages": added}] if file else []
            old = Collection(context, paths)
            if served and served["base"]["corpus_sha256"] == base.sha256:
                old = Collection(context, Paths(paths.served), served)
            _remove_others(work, parts)
            for part in parts:
                _index_words(context, store, work) if part == LEXICAL else _embed(context, part, _holding(old, part), store, work)
            about = {"base": {"corpus_sha256": base.sha256, "passages": len(base)}, "passages": len(store), "corpus_sha256": store.sha256}
            models = {part: model_fingerprint(paths.model(part)) for part in parts if part != LEXICAL}
            manifest = {**about, "added": added, "systems": names, "models": models, "files": files, "seconds": round(time.monotonic() - started, 2)}
            write_json(work.root / MANIFEST, manifest)
            shutil.rmtree(work.tokens, ignore_errors=True)
            put_folder(work.root, paths.served)
            shutil.rmtree(work.root, ignore_errors=True)
            return manifest
    except Timeout:
        raise UserError(f"another simlm add is at work on '{experiment.name}'; wait for its end") from None


def _require(context: Context, parts: list[str]) -> None:
    """The experiment has everything that is added to."""
    paths = context.paths
    for part in parts:
        if part == LEXICAL:
            context.require(paths.bm25 / "manifest.json")
        else:
            context.require(paths.model(part) / "simlm.json", paths.index(part) / "manifest.json")


def _holding(old: Collection, part: str) -> Collection:
    """Where a model's vectors are taken from: the served collection if it has those of this model, otherwise the evaluated one."""
    fits = old.served is None or old.served["models"].get(part) == model_fingerprint(old.context.paths.model(part))
    return old if fits else Collection(old.context, old.context.paths)


def _write(base: CorpusStore, earlier: CorpusStore | None, first: int, file: Path | None, folder: Path) -> None:
    """The corpus as `simlm prepare-corpus` would write it with the further passages behind its own."""
    new = passages_in(file) if file else None
    before = len(base) + (len(earlier) - first if earlier else 0)

    def read() -> Iterator[Passage]:
        for store, start in ((base, 0), (earlier, first)):
            for batch in store.iter_batches(start) if store is not None else ():
                yield from zip(batch.ids, batch.titles, batch.texts)
        yield from new or ()

    def where(n: int) -> str:
        if n > before and new is not None:
            return new.where(n - before)
        return f"passage {n:,} of {base.folder if n <= len(base) else 'those added before'}"

    splits: dict[str, tuple[Any, ...]] = {}
    for name in base.splits:
        about, qrels = base.manifest["splits"][name], base.qrels(name)
        judged = [(query, passage, grade) for query, graded in qrels.items() for passage, grade in graded.items()] if qrels else None
        splits[name] = (list(base.queries(name).items()), judged, *([list(base.answers(name).items())] if "answers" in about else []))
    excluded = {name: base.manifest["splits"][name].get("own_passages", {}).get("left_out", False) for name in splits}
    write_corpus(folder, Records(read, where), splits, base.manifest["source"], exclude_query=excluded)


def _index_words(context: Context, store: CorpusStore, work: Paths) -> None:
    """BM25's index of all passages, with the analyzer that was chosen for the evaluated ones."""
    settings, chosen = context.experiment.bm25, Bm25Index.load(context.paths.bm25).manifest
    index = Bm25Index.build(passages_of(store, settings.titles), chosen["analyzer"], settings.k1, settings.b)
    index.save(work.bm25, {"corpus_sha256": store.sha256, "tried": chosen["tried"], "selection": chosen["selection"]})


def _embed(context: Context, name: str, old: Collection, store: CorpusStore, work: Paths) -> None:
    """Vectors of the further passages, and the index with them."""
    experiment, encoding, settings = context.experiment, context.experiment.encoding_of(name), context.experiment.index_of(name)
    encoder = prepared_encoder(context, name)
    place = Place(old.paths.index(name), old.paths.embeddings(name), old.shards(name), encoder.sha256, old.store.sha256)
    before, manifest = place.vectors(), work.shard_manifest(name, 1, 1)
    written = encode_further(encoder, store, work.tokens, manifest, before, encoding.dtype)
    again = max(0, before.rows - whole_rows(before.rows, len(store)))
    say(f"{name}: {len(store) - before.rows:,} passages embedded" + (f", and the last {again:,} of those before, whose block they fill up." if again else "."))
    now = Place(work.index(name), work.embeddings(name), 1, encoder.sha256, written["corpus_sha256"])
    threads = hardware.granted(encoding.threads)
    index_for(before.ragged, settings).extend(place, now.vectors(), now.index, settings, whole_rows(before.rows, len(store)), experiment.seed, threads)


def _remove_others(work: Paths, parts: list[str]) -> None:
    """What a killed call has left of other systems."""
    kept = {folder for part in parts for folder in (work.embeddings(part), work.index(part))}
    for kind in ("embeddings", "index"):
        for folder in (work.root / kind).glob("*"):
            if folder not in kept:
                shutil.rmtree(folder)
    if LEXICAL not in parts:
        shutil.rmtree(work.bm25, ignore_errors=True)
