"""Hand over what an experiment made: vectors as Parquet, runs and negatives as Tevatron's JSON lines, a retriever as an ONNX graph.

    simlm export vectors --experiment pydocs --model distilled --output vectors
    simlm export negatives --experiment pydocs --model bm25 --output negatives.jsonl
    simlm export run --experiment pydocs --model distilled --split test --output run.jsonl
    simlm export onnx --experiment pydocs --model distilled --output distilled-onnx
    simlm export onnx --model sentence-transformers/all-MiniLM-L6-v2 --output minilm-onnx

The columns of the vectors are docid and vector (a list of fixed size of float32), at most a million rows a file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from simlm.commands.options import add_experiment_options, load_context, say_added
from simlm.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``simlm export``."""
    parser.add_argument("what", choices=tuple(WHAT), help="what is handed over")
    parser.add_argument("--model", required=True, metavar="NAME", help="system of the experiment; for onnx also a folder or a Hugging Face id")
    add_experiment_options(parser)
    parser.add_argument("--split", metavar="SPLIT", help="split of the run (default: the main one)")
    parser.add_argument("--depth", type=int, metavar="N", help="passages of a query of the run (default: all)")
    parser.add_argument("--evaluated", action="store_true", help="vectors of the evaluated passages alone, without those that simlm add has added")
    parser.add_argument("--output", type=Path, required=True, metavar="PLACE", help="a new folder (vectors, onnx) or a file (.jsonl)")


def run(arguments: argparse.Namespace) -> None:
    """Read, check, write."""
    from simlm.errors import UserError

    if arguments.depth is not None and arguments.depth < 1:
        raise UserError(f"--depth {arguments.depth}: give at least one passage")
    if arguments.what == "onnx" and not (arguments.experiment or arguments.config):
        _onnx(arguments.model, arguments.output)
        return
    context = load_context(arguments)
    from simlm.interactive.systems import kind_of

    kind_of(context.experiment, arguments.model)
    WHAT[arguments.what](context, arguments)


def _vectors(context: Context, arguments: argparse.Namespace) -> None:
    from simlm.export.vectors import export_vectors
    from simlm.models.manifest import model_fingerprint
    from simlm.progress import say
    from simlm.served.collection import open_collection
    from simlm.vectors.shards import Shards

    name = _embeds(context, arguments.model)
    context.require_belonging()
    held = open_collection(context, arguments.evaluated)
    held.require(name)
    say_added(held)
    made_from = {"model_sha256": model_fingerprint(context.paths.model(name)), "corpus_sha256": held.store.sha256}
    shards = Shards(held.paths.embeddings(name), held.shards(name), **made_from)
    shards.verify()
    files = export_vectors(shards, held.store, arguments.output)
    say(f"{arguments.output}: {len(held.store):,} vectors of {shards.dimension} numbers in {len(files):,} files of Parquet.")


def _negatives(context: Context, arguments: argparse.Namespace) -> None:
    from simlm.corpus.store import CorpusStore
    from simlm.export.tevatron import write_negatives
    from simlm.files import require_new
    from simlm.progress import say
    from simlm.runs.negatives import read_negatives

    file = context.paths.negatives(arguments.model)
    context.require(file)
    context.require_belonging("mine_negatives", arguments.model, files=[file])
    require_new(arguments.output)
    queries = write_negatives(arguments.output, read_negatives(file), CorpusStore(context.paths.corpus))
    say(f"{arguments.output}: {queries:,} queries with positives and hard negatives from {arguments.model}.")


def _run(context: Context, arguments: argparse.Namespace) -> None:
    from simlm.corpus.store import CorpusStore
    from simlm.errors import UserError, nearest
    from simlm.export.tevatron import write_run
    from simlm.files import require_new
    from simlm.progress import say
    from simlm.runs.runs import read_run, read_train_run

    evaluate, store = context.experiment.evaluate, CorpusStore(context.paths.corpus)
    split = arguments.split or evaluate.main_split
    mined = split == "train" and split not in evaluate.splits
    if not mined and split not in evaluate.splits:
        raise UserError(f"'{context.experiment.name}' judges no split '{split}'{nearest(split, evaluate.splits)} (there are {', '.join(evaluate.splits)})")
    file = context.paths.train_run(arguments.model) if mined else context.paths.run(arguments.model, split)
    context.require(file)
    context.require_belonging()
    require_new(arguments.output)
    pairs = write_run(arguments.output, read_train_run(file) if mined else read_run(file, store), store, split, arguments.depth)
    say(f"{arguments.output}: {pairs:,} pairs of the run of {arguments.model} on {split}.")


def _exported_model(context: Context, arguments: argparse.Namespace) -> None:
    name = _embeds(context, arguments.model)
    context.require(context.paths.model(name) / "simlm.json")
    _onnx(str(context.paths.model(name)), arguments.output)


def _onnx(reference: str, output: Path) -> None:
    from simlm.export.onnx import export_onnx
    from simlm.progress import say

    difference = export_onnx(reference, output)
    say(f"{output}: model.onnx, tokenizer and reading.json; its vectors differ from torch's by {difference:.1e} at most.")


def _embeds(context: Context, name: str) -> str:
    """The name, if it is of a model with vectors."""
    from simlm.errors import UserError

    models = [one for one in context.experiment.systems if context.experiment.system(one).encodes]
    if name not in models:
        raise UserError(f"'{name}' has no vectors; name one of {', '.join(models) or 'those that embed, of which there is none'}")
    return name


WHAT = {"vectors": _vectors, "run": _run, "negatives": _negatives, "onnx": _exported_model}
"""What is handed over, and how."""
