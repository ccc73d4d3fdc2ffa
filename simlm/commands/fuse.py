"""Fuse the runs of several systems by reciprocal rank, for all evaluated splits.

    simlm fuse --config config/config.yaml --model fusion

The model is one of kind `fusion`; `of` names the systems whose runs are fused, `k` is the constant of the formula.
"""

from __future__ import annotations

import argparse

from simlm.commands.options import add_experiment_options, load_context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment_options(parser)
    parser.add_argument("--model", required=True, metavar="NAME", help="model of kind fusion")
    parser.add_argument("--splits", nargs="+", metavar="SPLIT", help="splits to fuse (default: all that are evaluated)")


def run(arguments: argparse.Namespace) -> None:
    context = load_context(arguments)
    from simlm.commands.options import model_of
    from simlm.corpus.store import CorpusStore
    from simlm.errors import UserError
    from simlm.progress import progress
    from simlm.records.record import StageRecord
    from simlm.retrieval.fusion import fuse_runs
    from simlm.runs.found import Found
    from simlm.runs.runs import write_trec_run

    name, paths, experiment = arguments.model, context.paths, context.experiment
    settings, depth = model_of(context, name, "fusion"), experiment.evaluate.depth
    splits = arguments.splits or list(experiment.evaluate.splits)
    inputs = {f"{system}/{split}": paths.run(system, split) for split in splits for system in settings.of}
    for key, file in inputs.items():
        if not file.exists():
            raise UserError(f"{file} does not exist; search (or re-rank) the split '{key.split('/')[1]}' with '{key.split('/')[0]}' first")
    store = CorpusStore(paths.corpus)
    block = {**settings.model_dump(), "splits": splits, "depth": depth}
    with StageRecord(paths.record(f"fuse.{name}"), f"fuse.{name}", block, {"corpus": paths.corpus / "manifest.json", **inputs}) as record:
        for split in splits:
            queries = list(store.queries(split))
            own = store.own_rows(split)
            fused = Found(fuse_runs([paths.run(system, split) for system in settings.of], queries, store, settings.k, Found.asked(depth, own)), depth, own)
            record.outputs[split] = paths.run(name, split)
            fused = progress(fused, len(queries), f"Fusing {', '.join(settings.of)} on '{split}'", unit="queries")
            record.metrics[f"queries/{split}"] = write_trec_run(record.outputs[split], fused, store, tag=name)
