"""How much each part of a fusion counts, chosen on training queries that no training behind the parts has seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from simlm.errors import UserError
from simlm.evaluation.metrics import evaluate_run, parse_metrics
from simlm.files import read_manifest
from simlm.retrieval.fusion import fusing
from simlm.runs.runs import TrecRanking

if TYPE_CHECKING:
    from simlm.context import Context
    from simlm.corpus.store import CorpusStore
    from simlm.paths import Paths

PARTS = 10
"""Weights are multiples of one of so many parts."""

FEWEST = 20
"""Fewest queries to choose on; with fewer the parts count the same."""

MOST = 1000
"""Most queries to choose on, where nothing was trained and so no query was seen."""


class Choice(NamedTuple):
    """Weights of the parts, by the value of the metric on so many queries; no value where nothing could be tried."""

    weights: tuple[float, ...]
    metric: str
    value: float | None
    queries: int
    alone: tuple[float, ...]
    """Value of each part alone."""


def candidates(parts: int, best_alone: bool = False) -> Iterator[tuple[float, ...]]:
    """All weights that are tried, those nearest to equal ones first; they add up to 1.

    >>> list(candidates(2, best_alone=True)), len(list(candidates(2))), len(list(candidates(3)))
    ([(0.0, 1.0), (1.0, 0.0)], 11, 66)
    >>> next(iter(candidates(2)))
    (0.5, 0.5)
    """

    def split(total: int, places: int) -> Iterator[tuple[int, ...]]:
        if places == 1:
            yield (total,)
            return
        for first in range(total + 1):
            yield from ((first, *rest) for rest in split(total - first, places - 1))

    every = [tuple(part / PARTS for part in parts_) for parts_ in split(PARTS, parts)]
    if best_alone:
        every = [weights for weights in every if max(weights) == 1.0]
    return iter(sorted(every, key=lambda weights: (sum((weight - 1 / parts) ** 2 for weight in weights), weights)))


def choose(context: Context, name: str, store: CorpusStore) -> Choice:
    """The weights of the fusion ``name`` that are best by the main metric on held-out training queries; of equally good ones the most equal.

    Raises
    ------
    UserError
        If a run of the training queries is missing or damaged.
    """
    from simlm.runs.runs import read_train_run
    from simlm.training.queries import unseen_queries

    settings, evaluate = context.experiment.system(name), context.experiment.evaluate
    metric, level = evaluate.main_metric, evaluate.splits[evaluate.main_split]
    unseen = unseen_queries(context, settings.of, store, MOST)
    wanted, equal = set(unseen), tuple(1 / len(settings.of) for _ in settings.of)
    if len(wanted) < FEWEST:
        return Choice(equal, metric, None, len(wanted), ())
    runs = [{run.query_id: run[1:] for run in read_train_run(context.paths.train_run(part)) if run.query_id in wanted} for part in settings.of]
    names = _external(store, runs)
    measures = parse_metrics([metric], level.relevance, level.mrr_relevance)
    qrels = {query: judged for query, judged in store.qrels("train").items() if query in wanted}

    nothing = (np.zeros(0, np.int32), np.zeros(0))

    def value(weights: tuple[float, ...]) -> float:
        fuse = fusing(settings.by, settings.k, None, weights)
        fused = (
            TrecRanking(query, [names[row] for row in rows.tolist()], scores)
            for query in unseen
            for rows, scores in [fuse([run.get(query, nothing) for run in runs])]
            if len(rows)
        )
        return next(iter(evaluate_run(fused, qrels, measures).averages.values()))

    found = {weights: value(weights) for weights in candidates(len(settings.of), settings.weights == "best")}
    best = max(found, key=found.__getitem__)  # the first of equal ones
    alone = tuple(value(tuple(float(i == j) for j in range(len(runs)))) for i in range(len(runs)))
    return Choice(best, metric, found[best], len(wanted), alone)


def weights_of(paths: Paths, name: str, settings: Any) -> Sequence[float] | None:
    """The weights of a fusion as its settings have them, or as they were chosen when its runs were fused; None: all count the same.

    Raises
    ------
    UserError
        If they are still to be chosen.
    """
    if not settings.learns:
        return settings.weights
    for label in (f"fuse.{name}", f"fuse.{name}.train"):
        if paths.record(label).exists():
            shape = {"metrics": {f"weight/{part}": float for part in settings.of}}
            found = read_manifest(paths.record(label), "the record of a fusion", f"simlm fuse --model {name}", shape)["metrics"]
            return [found[f"weight/{part}"] for part in settings.of]
    raise UserError(f"the weights of '{name}' are not chosen yet; run simlm fuse --model {name} first")


def _external(store: CorpusStore, runs: list[dict[str, Any]]) -> dict[int, str]:
    found = [rows for run in runs for rows, _ in run.values()]
    every = np.unique(np.concatenate(found)) if found else np.zeros(0, np.int32)
    return dict(zip(every.tolist(), store.ids(every)))
