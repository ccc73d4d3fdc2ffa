"""Build the BM25 index over title and text.

    simlm index-bm25 --config config/config.yaml

Where `bm25.analyzers` lists several tokenisations, each is tried on the split `bm25.select_on`, the best by
`evaluate.main_metric` is kept, and the figures of all are written to bm25/manifest.json.
"""

from __future__ import annotations

from simlm.context import Context


def index_bm25(context: Context) -> None:
    """Index with the best analyzer and write the record."""
    from simlm.corpus.store import CorpusStore
    from simlm.lexical.choice import build_best_index

    paths, experiment = context.paths, context.experiment
    with context.record("index_bm25") as record:
        manifest = build_best_index(CorpusStore(paths.corpus), paths.bm25, experiment.bm25, experiment.evaluate)
        record.notes = {"analyzer": manifest["analyzer"], "tried": manifest["tried"], "selection": manifest["selection"]}
        record.metrics = {name: manifest[name] for name in ("passages", "terms", "postings")}
        record.metrics |= {f"{analyzer}/{name}": value for analyzer, averages in manifest["tried"].items() for name, value in averages.items()}
        record.outputs = {"manifest": paths.bm25 / "manifest.json"}
