"""Search splits with BM25 and write their runs.

    simlm search-bm25 --config config/config.yaml
    simlm search-bm25 --config config/config.yaml --splits train dev test

`train` gives a Parquet run to `negatives.depth`, from which negatives are mined; the other splits give TREC runs to
`evaluate.depth`. Without --splits, those that the graph needs are searched.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from simlm.commands.options import add_experiment_options, load_context

if TYPE_CHECKING:
    from simlm.records.record import StageRecord
    from simlm.runs.found import Found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment_options(parser)
    parser.add_argument("--splits", nargs="+", metavar="SPLIT", help="splits to search (default: those that the graph of models needs)")


def run(arguments: argparse.Namespace) -> None:
    context = load_context(arguments)
    from simlm.config.graph import LEXICAL, needed_runs
    from simlm.corpus.store import CorpusStore
    from simlm.lexical.bm25 import Bm25Index
    from simlm.lexical.search import search_split
    from simlm.records.record import StageRecord
    from simlm.runs.runs import write_train_run, write_trec_run

    paths, experiment = context.paths, context.experiment
    mined, judged = needed_runs(experiment, LEXICAL)
    splits = list(dict.fromkeys(arguments.splits or [*(["train"] if mined else []), *judged]))
    store = CorpusStore(paths.corpus)
    for split in splits:
        store.queries(split)  # an unknown split is refused before anything is searched
    index = Bm25Index.load(paths.bm25, store.sha256)
    settings = {"splits": splits, "train_depth": experiment.negatives.depth, "depth": experiment.evaluate.depth}
    with StageRecord(
        paths.record("search_bm25"), "search_bm25", settings, {"corpus": paths.corpus / "manifest.json", "index": paths.bm25 / "manifest.json"}
    ) as record:
        for split in splits:
            if split == "train" and (mined or split not in judged):
                depth, output = experiment.negatives.depth, paths.train_run(LEXICAL)
                found = search_split(index, store, split, depth)
                count = write_train_run(output, found, system=LEXICAL, depth=depth, corpus_sha256=store.sha256)
                note(record, split, found)
                record.outputs["train run"] = output
            if split != "train" or split in judged:
                output = paths.run(LEXICAL, split)
                found = search_split(index, store, split, experiment.evaluate.depth)
                count = write_trec_run(output, found, store, tag=LEXICAL)
                note(record, split, found)
                record.outputs[split] = output
            record.metrics[f"queries/{split}"] = count


def note(record: StageRecord, split: str, found: Found) -> None:
    """Say what was found; that many queries find nothing is worth a caution, that they find few is not."""
    from simlm.progress import say
    from simlm.runs.found import OFTEN

    say(f"bm25 on {split}: {found}")
    record.metrics[f"passages/{split}"] = found.passages
    record.notes.setdefault("found", {})[split] = str(found)
    if found.empty > OFTEN * found.queries:
        record.caution(f"{split}: BM25 finds nothing for {found.empty:,} of {found.queries:,} queries; does bm25.analyzers fit the language?")
