"""Sample hard negatives from a system's run of the training queries.

    simlm mine-negatives --config config/config.yaml --model bm25

Candidates are the top `negatives.depth` passages minus all positives of the query; `negatives.sample` of them are
drawn, and random passages that are neither positive nor in the run fill the list up to `negatives.pad_to`.
Where questions come with answers, `negatives.answers` keeps passages that contain one out of the negatives.
With `negatives.drop_above` those that score nearly as high as a positive, probably right answers that nobody judged, are left out.
Queries without a positive or without an entry in the run are dropped and counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from simlm.context import Context

if TYPE_CHECKING:
    from simlm.config.experiment import Negatives
    from simlm.runs.negatives import MiningCounts


def false_negatives(counts: MiningCounts, settings: Negatives, scores: str) -> str:
    """The estimated share of false negatives, and how many were left out, in a sentence."""
    from simlm.runs.negatives import CLOSE

    share = f"an estimated {counts.false_negatives:.1%} of the candidates are right answers that nobody judged (by {scores}, {CLOSE:.0%} of a positive's score)"
    if settings.drop_above is None:
        return f"{share}; negatives.drop_above leaves them out"
    return f"{share}; {counts.dropped_close:,} with {settings.drop_above:.0%} or more were left out"


def mine_negatives(context: Context, name: Annotated[str, "system whose run is mined: bm25 or a retriever of the graph"]) -> None:
    """Write the negatives and the record."""
    from dataclasses import asdict

    from simlm.config.graph import scored_by
    from simlm.corpus.store import CorpusStore
    from simlm.errors import UserError
    from simlm.progress import progress, say
    from simlm.runs.answers import AnswerMatcher
    from simlm.runs.negatives import MiningCounts, write_negatives
    from simlm.runs.negatives import mine_negatives as mine
    from simlm.runs.runs import read_train_run, train_run_metadata

    source, paths, experiment = name, context.paths, context.experiment
    record = context.record("mine_negatives", source)
    settings, seed = experiment.negatives, experiment.seed
    store, run_file, output = CorpusStore(paths.corpus), paths.train_run(source), paths.negatives(source)
    about = train_run_metadata(run_file)
    if about.get("corpus_sha256") != store.sha256:
        raise UserError(f"{run_file} was made from another corpus; search the split 'train' with '{source}' again")
    if not isinstance(about.get("depth"), int):
        raise UserError(f"{run_file} does not say how deep it is; search the split 'train' with '{source}' again")
    if about["depth"] < settings.depth:
        raise UserError(f"{run_file} is {about['depth']} passages deep but negatives.depth is {settings.depth}; search the split 'train' with '{source}' again")
    with record:
        positives, counts = store.positives("train", settings.relevance), MiningCounts()
        answered = AnswerMatcher(store, store.answers("train")).contains if settings.answers != "ignored" else None
        scores = scored_by(experiment, source)
        judges = None if scores == source else {ranking.query_id: ranking for ranking in read_train_run(paths.train_run(scores))}
        rankings = progress(read_train_run(run_file), len(positives), f"Mining negatives from {source}", unit="queries")
        mined = mine(rankings, positives, len(store), settings, seed, counts, store.own_rows("train"), answered, judges)
        write_negatives(output, mined, {"source": source, "settings": settings.model_dump(), "seed": seed, "corpus_sha256": store.sha256}, counts)
        record.metrics, record.outputs = asdict(counts), {"negatives": output}
        if counts.false_negatives is not None:
            record.notes["false negatives"] = false_negatives(counts, settings, scores)
        for sentence in counts.cautions(source, settings):
            record.caution(sentence)
    say(
        f"{counts.queries:,} queries with {counts.mined / counts.queries:.1f} mined and {counts.random / counts.queries:.1f} random negatives each; dropped: "
        f"{counts.no_positive:,} without a positive, {counts.no_run_entry:,} that the run lacks; "
        f"the run has {counts.positives_found / counts.positives:.1%} of the positives of all training queries in its top {settings.depth}"
        + (f"; {counts.with_answer:,} other passages of the run contain an answer ({settings.answers})" if answered else "")
        + (f"; {record.notes['false negatives']}" if "false negatives" in record.notes else "")
        + (f"; {counts.fewer:,} queries have fewer negatives than asked for, {counts.fewest} at least" if counts.fewer else "")
    )
