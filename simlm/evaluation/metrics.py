"""Metrics of a run through ir-measures, per query and on average.

Ties: trec_eval and the tools built on it order a run by score alone and break ties by passage id (some downwards, some
upwards), after rounding scores to float32. Here the run's own order counts: lines are ordered by score, equal scores
keep the order of the file. ir-measures is therefore given the ranks as scores, which no tool can reorder.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from simlm.config.metrics import by_answers, canonical_metric
from simlm.corpus.qrels import Qrels
from simlm.errors import UserError
from simlm.runs.runs import TrecRanking

if TYPE_CHECKING:
    from ir_measures import Measure

QUERIES_AT_ONCE = 256
"""Queries handed to ir-measures together, which bounds the memory."""


@dataclass(frozen=True)
class Evaluation:
    """A run judged.

    Attributes
    ----------
    query_ids
        All judged queries, in the order of the qrels.
    values
        Metric name → values aligned with ``query_ids`` (float64).
    missing
        Judged queries that the run does not have; each counts as zero.
    ignored
        Queries of the run without judgements.
    """

    query_ids: list[str]
    values: dict[str, np.ndarray]
    missing: int
    ignored: int

    @property
    def caution(self) -> str | None:
        """That judged queries are missing, in a sentence."""
        if not self.missing:
            return None
        return f"the run lacks {self.missing:,} of {len(self.query_ids):,} judged queries, which count as 0: nothing was found for them, or the file was cut"

    @property
    def averages(self) -> dict[str, float]:
        """Metric name → mean over all judged queries."""
        return {name: mean(values) for name, values in self.values.items()}


def mean(values: np.ndarray) -> float:
    """Average over queries, the only formula for it: exactly rounded, so that it does not depend on the order of the queries.

    >>> mean(np.array([0.1] * 10))
    0.1
    """
    return math.fsum(values) / len(values)


def parse_metrics(names: Iterable[str], relevance: int = 1, mrr_relevance: int | None = None) -> dict[str, Measure]:
    """Canonical name (:func:`~simlm.config.metrics.canonical_metric`) → ir-measures object with the relevance level put in where the metric has one.

    nDCG has none: it uses the grades. A name that already says ``rel=`` keeps its own level.

    >>> parse_metrics(["MRR@10", "nDCG@10", "R(rel=3)@5"], relevance=2)
    {'RR@10': RR(rel=2)@10, 'nDCG@10': nDCG@10, 'R(rel=3)@5': R(rel=3)@5}
    """
    import ir_measures

    measures = {}
    for given in names:
        try:
            name = canonical_metric(given)
            if by_answers(name):
                raise ValueError(f"'{given}' is judged by the answers of questions, which a file of judgements does not hold; take Success@10 or R@10")
            measure = ir_measures.parse_measure(name)
            if "rel" in measure.SUPPORTED_PARAMS and "rel" not in measure.params:
                measure = measure(rel=mrr_relevance if mrr_relevance is not None and measure.NAME == "RR" else relevance)
            measure.validate_params()
        except (NameError, ValueError, AssertionError, SyntaxError) as error:
            raise UserError(str(error) if f"'{given}'" in str(error) else f"'{given}' is not a metric of ir-measures ({error})") from None
        measures[name] = measure
    return measures


def evaluate_run(run: Iterable[TrecRanking], qrels: Qrels, measures: dict[str, Measure]) -> Evaluation:
    """Judge a run, streaming over its queries.

    Parameters
    ----------
    run
        Rankings; equal scores keep their order.
    qrels
        Judgements. Every query in them counts, also one without any relevant passage (as zero).
    measures
        From :func:`parse_metrics`.

    Raises
    ------
    UserError
        If a metric cannot be computed here, or if the run is empty or has none of the judged queries.

    >>> run = [TrecRanking("q", ["d1", "d2"], np.array([1.0, 1.0]))]
    >>> evaluate_run(run, {"q": {"d2": 1}, "other": {"d1": 1}}, parse_metrics(["RR@10"])).averages
    {'RR@10': 0.25}
    """
    row = {query_id: i for i, query_id in enumerate(qrels)}
    values = {measure: np.full(len(row), float(measure.DEFAULT)) for measure in measures.values()}
    seen = ignored = 0
    for group in _groups(run, QUERIES_AT_ONCE):
        judged = [ranking for ranking in group if ranking.query_id in row]
        seen, ignored = seen + len(judged), ignored + len(group) - len(judged)
        if not judged:
            continue
        some = {ranking.query_id: qrels[ranking.query_id] for ranking in judged}
        ordered = {ranking.query_id: _best_first(ranking) for ranking in judged}
        for depth, same in _by_depth(values, max(map(len, ordered.values()))).items():
            for metric in _calculate(same, some, {query_id: _as_ranks(names[:depth]) for query_id, names in ordered.items()}):
                values[metric.measure][row[metric.query_id]] = metric.value
    if not seen and not ignored:
        raise UserError("the run is empty, so there is nothing to judge; search again")
    if ignored and not seen:
        raise UserError("none of the run's queries is judged; the run and the judgements belong to different data")
    return Evaluation(list(row), {name: values[measure] for name, measure in measures.items()}, len(row) - seen, ignored)


def _depth(measure: Measure) -> int | None:
    """How many of the best passages decide the measure; None: all. ir-measures is much faster on short lists."""
    known = measure.NAME in ("RR", "R", "P", "nDCG", "Success") and not measure.params.get("judged_only")
    return measure.params.get("cutoff") if known else None


def _by_depth(measures: Iterable[Measure], longest: int) -> dict[int, list[Measure]]:
    """Measures by how many of the best passages decide them, where no ranking has more than ``longest``."""
    found: dict[int, list[Measure]] = {}
    for measure in measures:
        depth = _depth(measure)
        found.setdefault(longest if depth is None else min(depth, longest), []).append(measure)
    return found


def _best_first(ranking: TrecRanking) -> list[str]:
    """Passage ids by score; equal scores keep their order."""
    if (ranking.scores[1:] <= ranking.scores[:-1]).all():
        return ranking.ids
    return [ranking.ids[place] for place in np.argsort(-ranking.scores, kind="stable").tolist()]


def _as_ranks(names: list[str]) -> dict[str, float]:
    """Passage id → a score that falls by one per rank (exact in float32)."""
    return dict(zip(names, _falling(len(names))))


@functools.lru_cache(maxsize=256)
def _falling(count: int) -> list[float]:
    return list(map(float, range(count, 0, -1)))


def _calculate(measures: list[Measure], qrels: Qrels, run: dict[str, dict[str, float]]) -> Iterator:
    import ir_measures

    try:
        yield from ir_measures.iter_calc(measures, qrels, run)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"ir-measures cannot compute these metrics here: {error}") from None


def _groups(items: Iterable, size: int) -> Iterator[list]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group
