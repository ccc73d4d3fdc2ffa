"""From the name of a collection and a model to the experiment that judges the one on the other, BM25 beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from simlm.config.kinds import KINDS, name_of
from simlm.config.kinds.bm25 import LEXICAL
from simlm.errors import UserError, nearest

METRICS = ["nDCG@10", "RR@10", "R@10", "R@100", "R@1000", "AP@1000"]
MAIN = METRICS[0]


def slug(name: str) -> str:
    """A name as experiments and systems may have it.

    >>> slug("beir/nfcorpus"), slug("/data/my corpus/"), slug("BeIR/scifact@main")
    ('beir-nfcorpus', 'data-my-corpus', 'BeIR-scifact-main')
    """
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-_") or "collection"


def system_name(model: str) -> str:
    """What the model is called in tables: the last part of its name.

    >>> system_name("sentence-transformers/all-MiniLM-L6-v2"), system_name("results/pydocs/models/distilled"), system_name("./bm25")
    ('all-MiniLM-L6-v2', 'distilled', 'model')
    """
    name = slug([part for part in model.partition("@")[0].split("/") if part.strip(".")][-1] if model.strip("./") else "model")
    return "model" if name == LEXICAL else name


def corpus_block(name: str, split: str) -> dict[str, Any]:
    """The ``corpus:`` block of a collection: a folder in BEIR's layout, an id of ir_datasets, or a data set of the hub.

    Raises
    ------
    UserError
        If it is none of them, or ir_datasets has no judgements of this split.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        beir = any((folder / f"corpus.jsonl{end}").is_file() for end in ("", ".gz"))
        return {"source": "beir", "path": str(folder.resolve()), "splits": {split: split}} if beir else _hub(str(folder.resolve()), split)
    if name.startswith((".", "/", "~")):
        raise UserError(f"{name} is no folder; a collection is a folder in BEIR's layout, an id of ir_datasets or a data set of the hub")
    return _of_ir_datasets(name, split) or _hub(name, split)


def _hub(name: str, split: str) -> dict[str, Any]:
    name, _, revision = name.partition("@") if not Path(name).is_dir() else (name, "", "")
    return {"source": "hub", "id": name, **({"revision": revision} if revision else {}), "splits": {split: split}}


def _of_ir_datasets(name: str, split: str) -> dict[str, Any] | None:
    import ir_datasets

    known = ir_datasets.registry
    try:
        there = ir_datasets.load(name)
    except KeyError:
        near = nearest(name, list(known._registered))
        if near and "/" not in name:
            raise UserError(f"ir_datasets has no collection '{name}'{near} (https://ir-datasets.com lists them)") from None
        return None
    if there.has_qrels():
        return {"source": "ir_datasets", "passages": name, "splits": {split: name}}
    parts = [one for one in known._registered if one.startswith(f"{name}/") and ir_datasets.load(one).has_qrels()]
    if f"{name}/{split}" not in parts:
        raise UserError(f"ir_datasets has no judgements of '{name}/{split}' (there are {', '.join(parts) or 'none'}); name one of these, or another --split")
    return {"source": "ir_datasets", "passages": name, "splits": {split: f"{name}/{split}"}}


def kind_taking_over(embedder: type) -> str | None:
    """The kind that takes a published model of this embedder into an experiment, or None if there is none."""
    place = f"{embedder.__module__}:{embedder.__qualname__}"
    fitting = (kind for kind in KINDS if kind.made_by == "import_model" and kind.encodes and getattr(kind, "embedder", None) == place)
    return next((name_of(kind) for kind in fitting), None)


def experiment_of(collection: str, model: str, split: str, results: Path, kind: str, encoding: dict[str, Any]) -> dict[str, Any]:
    """The configuration that judges a model on a collection.

    Parameters
    ----------
    kind
        Kind of the graph that takes the model over (:func:`kind_taking_over`).
    encoding
        Keys of the block ``encoding``.
    """
    system = system_name(model)
    init = str(Path(model).expanduser().resolve()) if Path(model).expanduser().is_dir() else model
    return {
        "name": slug(collection),
        "results": str(results),
        "corpus": corpus_block(collection, split),
        "models": {system: {"kind": kind, "init": init, **({"threads": encoding["threads"]} if "threads" in encoding else {})}},
        "encoding": encoding,
        "evaluate": {
            "systems": [LEXICAL, system],
            "splits": {split: {}},
            "main_split": split,
            "metrics": METRICS,
            "main_metric": MAIN,
            "baseline": LEXICAL,
            "depth": 1000,
        },
    }
