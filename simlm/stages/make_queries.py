"""Make training queries of the passages themselves, for a corpus that has none, and keep those that find their passage again.

    simlm make-queries --config config/examples/made-queries.yaml

`corpus.made_queries` says which: the title or the first sentence of each passage, or what a sequence-to-sequence model writes for it. A query
that BM25 does not find its own passage with, among the first `found_within`, is dropped, and so is what a second passage or a judged query is
called by as well. The corpus store is written with the further splits; passages and judged splits are byte for byte those that
`simlm prepare-corpus` has read. What a model has written is kept in parts, from which a killed stage goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simlm.context import Context

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    import numpy as np

    from simlm.corpus.store import CorpusStore
    from simlm.lexical.made_queries import MadeQuery
    from simlm.records.record import StageRecord


def make_queries(context: Context) -> None:
    """Write the corpus store with the made splits, and the record."""
    import shutil
    from collections import Counter

    from simlm.corpus.extended import add_splits
    from simlm.corpus.store import CorpusStore
    from simlm.errors import UserError
    from simlm.lexical.made_queries import chosen_rows, found_again, into_splits, key, usable
    from simlm.progress import say

    experiment, paths = context.experiment, context.paths
    settings, lexical = experiment.corpus.made_queries, experiment.bm25
    if settings is None:
        raise UserError("corpus.made_queries is not set; say there what queries are made of, or leave this stage out")
    with context.record("make_queries") as record:
        store, dropped = CorpusStore(paths.prepared), Counter[str]()
        rows = chosen_rows(store, settings.passages)
        judged = {key(text) for split in store.splits for text in store.queries(split).values()}
        made = usable(_made(context, record, store, rows, dropped), settings, judged, dropped)
        if settings.found_within:
            kept = found_again(store, made, settings.found_within, lexical.analyzers[0], lexical.k1, lexical.b, lexical.titles)
            dropped["not_found_again"] = len(made) - len(kept)
        else:
            kept = made
        splits = into_splits(kept, settings.parts)
        left_out = ", ".join(f"{why.replace('_', ' ')} {count:,}" for why, count in sorted(dropped.items()) if count)
        if empty := [split.name for split in splits if not split.queries]:
            raise UserError(
                f"corpus.made_queries: of {len(rows):,} passages {len(kept):,} queries are kept ({left_out}), none of which falls into '{empty[0]}'; "
                "make queries of something else, raise found_within, or give the split a larger share"
            )
        lost = dropped["not_found_again"] + sum(dropped[why] for why in LATER)
        facts = {"passages": len(rows), "made": len(kept) + lost, "kept": len(kept), "dropped": dict(sorted(dropped.items()))}
        manifest = add_splits(store, paths.corpus, splits, facts)
        record.outputs["manifest"] = paths.corpus / "manifest.json"
        record.metrics = {name: facts[name] for name in ("passages", "made", "kept")} | {f"queries/{split.name}": len(split.queries) for split in splits}
        record.notes |= {"dropped": facts["dropped"], "corpus_sha256": manifest["sha256"]}
    shutil.rmtree(paths.making, ignore_errors=True)
    say(f"{facts['made']:,} queries made of {len(rows):,} passages, {len(kept):,} kept; dropped: {left_out or 'none'}")
    say("; ".join(f"{split.name}: {len(split.queries):,} queries" for split in splits))
    say(f"corpus: {paths.corpus}")


LATER = ("too_short_or_long", "query_of_a_judged_split", "of_several_passages_or_twice")
"""Why a query that was made is dropped, beside that it does not find its passage; what else is counted are passages without one."""


def _made(context: Context, record: StageRecord, store: CorpusStore, rows: np.ndarray, dropped: Counter[str]) -> Iterator[MadeQuery]:
    """All queries, whether they are of any use or not."""
    from simlm import hardware
    from simlm.lexical.made_queries import MadeQuery, own_queries

    experiment, settings = context.experiment, context.experiment.corpus.made_queries
    if settings.generator is None:
        yield from own_queries(store, rows, settings, dropped)
        return
    from simlm.retrieval.query_generator import QueryGenerator, written_queries

    hardware.prepare(settings.generator.threads)
    precision = hardware.choose_precision(experiment.precision)
    record.notes["precision"] = {"name": precision.name, "reason": precision.reason}
    generator = QueryGenerator(settings.generator.init, settings.generator, experiment.seed, precision)
    for row, queries in written_queries(generator, store, rows, context.paths.making, f"{record.key}-{record.code}"):
        (passage,) = store.ids([row])
        yield from (MadeQuery(text, row, passage, number) for number, text in enumerate(queries))
