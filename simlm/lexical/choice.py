"""The BM25 index with the best of several analyzers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlm.evaluation.splits import evaluate_split
from simlm.lexical.bm25 import Bm25Index, passages_of
from simlm.lexical.search import search_split
from simlm.progress import progress, say
from simlm.runs.runs import TrecRanking

if TYPE_CHECKING:
    from simlm.config.experiment import Evaluate
    from simlm.config.kinds.bm25 import Bm25
    from simlm.corpus.store import CorpusStore


def build_best_index(store: CorpusStore, folder: Path, settings: Bm25, evaluate: Evaluate) -> dict[str, Any]:
    """Index the corpus with every configured analyzer, keep the best by the main metric on ``settings.select_on``.

    With one analyzer nothing is searched. Equal scores: the analyzer named first is kept. Returns the manifest, whose
    ``tried`` maps analyzers to their averages and ``selection`` says on what they were chosen.
    """
    best, tried, selection = None, {}, None
    if len(settings.analyzers) > 1:
        selection = {"split": settings.select_on, "metric": evaluate.main_metric}
    for analyzer in settings.analyzers:
        documents = progress(passages_of(store, settings.titles), len(store), f"Indexing for BM25 ({analyzer})", unit="passages")
        index = Bm25Index.build(documents, analyzer, settings.k1, settings.b)
        if selection is None:
            best = index
            continue
        tried[analyzer] = judge(index, store, settings.select_on, evaluate)
        say(f"BM25 with analyzer {analyzer} on {settings.select_on}: " + ", ".join(f"{name} {value:.4f}" for name, value in tried[analyzer].items()))
        if best is None or tried[analyzer][evaluate.main_metric] > tried[best.analyzer.name][evaluate.main_metric]:
            best = index
    say(f"BM25 uses the analyzer {best.analyzer.name}")
    return best.save(folder, {"corpus_sha256": store.sha256, "tried": tried, "selection": selection})


def judge(index: Bm25Index, store: CorpusStore, split: str, evaluate: Evaluate) -> dict[str, float]:
    """Averages of an index on a split, searched to ``evaluate.depth``."""

    def run() -> Iterator[TrecRanking]:
        return (TrecRanking(query_id, store.ids(rows), scores) for query_id, rows, scores in search_split(index, store, split, evaluate.depth))

    return evaluate_split(run, store, split, evaluate.metrics, evaluate.splits.get(split))[0].averages
