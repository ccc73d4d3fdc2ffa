"""Re-rank a system's runs with a cross-encoder or late interaction, on all evaluated splits.

    simlm rerank --config config/smoke.yaml --model reranker

The top `rerank_depth` passages of the candidates (`rerank`, or the system its negatives come from) get the
model's score; the others keep their order below them. Runs go to results/<experiment>/runs/<model>.
"""

from __future__ import annotations

from typing import Annotated

from simlm.context import Context


def rerank(context: Context, name: Annotated[str, "re-ranker or re-ranking of the graph"]) -> None:
    """Write the re-ranked runs of all judged splits, and the record."""
    from simlm import hardware
    from simlm.corpus.store import CorpusStore
    from simlm.lexical.bm25 import Bm25Index
    from simlm.metering import metered
    from simlm.planning.utilisation import known
    from simlm.progress import progress, say
    from simlm.retrieval.prepared import open_scorer
    from simlm.retrieval.rerank import rerank_run
    from simlm.runs.found import Found
    from simlm.runs.runs import read_run, write_trec_run
    from simlm.training.passage_cache import PassageCache

    experiment, paths = context.experiment, context.paths
    settings, record, store = experiment.system(name), context.record("rerank", name), CorpusStore(paths.corpus)
    candidates, splits, depth = settings.candidates(), list(experiment.evaluate.splits), settings.rerank_depth
    files = {split: paths.run(candidates, split) for split in splits}
    threads, precision = hardware.prepare(settings.threads), hardware.choose_precision(experiment.precision)
    scorer = open_scorer(context, settings.sorter(name), precision)
    index = Bm25Index.load(paths.bm25, store.sha256) if scorer.lexical_hints else None
    with record, metered(known(context, settings.sorter(name), "scoring")) as meter:
        rankings = {split: list(Found(read_run(file, store), experiment.evaluate.depth, store.own_rows(split))) for split, file in files.items()}
        say(f"{name} re-ranks the top {depth} of {candidates} on {', '.join(splits)}: {threads} threads, {precision.name} ({precision.reason}).")
        wanted = (ranking.passages[:depth] for run in rankings.values() for ranking in run)
        passages = PassageCache(store, wanted, scorer.passages, paths.root / "runs" / name)
        for split, run in rankings.items():
            again = progress(rerank_run(scorer, passages, store.queries(split), run, depth, index), len(run), f"Re-ranking {split}", unit="queries")
            with meter.working():
                record.metrics[f"{split}/queries"] = write_trec_run(paths.run(name, split), again, store, tag=name, depth=experiment.evaluate.depth)
            record.metrics[f"{split}/pairs"] = pairs = sum(min(depth, len(ranking.passages)) for ranking in run)
            meter.units += pairs
            record.outputs[split] = paths.run(name, split)
        record.say_speed(meter.metrics)
        record.note_caution(scorer.pieces.said)
        record.notes |= {"precision": f"{precision.name}: {precision.reason}", "threads": threads, "candidates": candidates}
