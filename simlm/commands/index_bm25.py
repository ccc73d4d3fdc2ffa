"""Build the BM25 index over title and text.

    simlm index-bm25 --config config/config.yaml

Where `bm25.analyzers` lists several tokenisations, each is tried on the split `bm25.select_on`, the best by
`evaluate.main_metric` is kept, and the figures of all are written to bm25/manifest.json.
"""

from __future__ import annotations

import argparse

from simlm.commands.options import add_experiment_options, load_context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment_options(parser)


def run(arguments: argparse.Namespace) -> None:
    context = load_context(arguments)
    from simlm.corpus.store import CorpusStore
    from simlm.lexical.stage import build_best_index
    from simlm.records.record import StageRecord

    paths, experiment = context.paths, context.experiment
    store = CorpusStore(paths.corpus)
    settings = experiment.bm25.model_dump()
    if len(experiment.bm25.analyzers) > 1:
        settings |= {"metrics": experiment.evaluate.metrics, "main_metric": experiment.evaluate.main_metric, "depth": experiment.evaluate.depth}
    with StageRecord(paths.record("index_bm25"), "index_bm25", settings, {"corpus": paths.corpus / "manifest.json"}) as record:
        manifest = build_best_index(store, paths.bm25, experiment.bm25, experiment.evaluate)
        record.notes = {"analyzer": manifest["analyzer"], "tried": manifest["tried"], "selection": manifest["selection"]}
        record.metrics = {name: manifest[name] for name in ("passages", "terms", "postings")}
        record.metrics |= {f"{analyzer}/{name}": value for analyzer, averages in manifest["tried"].items() for name, value in averages.items()}
        record.outputs = {"manifest": paths.bm25 / "manifest.json"}
