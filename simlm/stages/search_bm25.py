"""Search splits with BM25 and write their runs.

    simlm search-bm25 --config config/config.yaml
    simlm search-bm25 --config config/config.yaml --splits train

The judged splits give TREC runs to `evaluate.depth`; `--splits train` gives the Parquet run to `negatives.depth` from which negatives
are mined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from simlm.context import Context

if TYPE_CHECKING:
    from simlm.records.record import StageRecord
    from simlm.runs.found import Found


def search_bm25(
    context: Context, splits: Annotated[list[str] | None, "splits to search; `train` alone: the run to be mined (default: the judged splits)"] = None
) -> None:
    """Write the runs and the record."""
    from simlm.config.jobs import runs_made
    from simlm.config.kinds.bm25 import LEXICAL
    from simlm.corpus.store import CorpusStore
    from simlm.lexical.bm25 import Bm25Index
    from simlm.lexical.search import search_split
    from simlm.runs.made import MadeRun

    paths, experiment = context.paths, context.experiment
    part = "+".join(splits) if splits else None
    store, made = CorpusStore(paths.corpus), runs_made(experiment, part)
    for split, _ in made:
        store.queries(split)  # an unknown split is refused before anything is searched
    with context.record("search_bm25", part=part) as record:
        index = Bm25Index.load(paths.bm25, store.sha256)
        for split, mined in made:
            run = MadeRun.of(context, LEXICAL, split, mined)
            found = search_split(index, store, split, run.depth)
            run.write(found, store, record)
            note(record, split, found)


def note(record: StageRecord, split: str, found: Found) -> None:
    """Say what was found; that many queries find nothing is worth a caution, that they find few is not."""
    from simlm.progress import say
    from simlm.runs.found import OFTEN

    say(f"bm25 on {split}: {found}")
    record.metrics[f"passages/{split}"] = found.passages
    record.notes.setdefault("found", {})[split] = str(found)
    if found.empty > OFTEN * found.queries:
        record.caution(f"{split}: BM25 finds nothing for {found.empty:,} of {found.queries:,} queries; does bm25.analyzers fit the language?")
