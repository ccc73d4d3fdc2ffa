"""Queries to read: where a system gains and loses most against the baseline, with the passages both put on top."""

from __future__ import annotations

from dataclasses import dataclass

from simlm.context import Context
from simlm.corpus.store import CorpusStore
from simlm.errors import UserError
from simlm.evaluation.files import read_per_query
from simlm.runs.runs import read_trec_run

SNIPPET = 420
"""Characters of a passage that are shown."""


@dataclass(frozen=True)
class Hit:
    """One retrieved passage; ``grade`` is None where nobody judged it."""

    rank: int
    id: str
    title: str
    text: str
    grade: int | None


@dataclass(frozen=True)
class Example:
    """One query, its values under both systems, and what each put on top."""

    query_id: str
    query: str
    baseline_value: float
    system_value: float
    baseline_hits: list[Hit]
    system_hits: list[Hit]
    relevant: list[Hit]


@dataclass(frozen=True)
class Examples:
    """Gains and losses of ``system`` against ``baseline`` by ``metric`` on ``split``."""

    system: str
    baseline: str
    split: str
    metric: str
    gains: list[Example]
    losses: list[Example]
    wins: int
    defeats: int
    ties: int


def examples(context: Context, system: str, each: int = 8, top: int = 3) -> Examples | None:
    """The ``each`` largest gains and losses; None when the values per query or the runs are not there (any more)."""
    evaluate, paths = context.experiment.evaluate, context.paths
    split, metric, baseline = evaluate.main_split, evaluate.main_metric, evaluate.baseline
    if system == baseline:
        return None
    try:
        ids, ours = read_per_query(paths.per_query(system, split))
        _, theirs = read_per_query(paths.per_query(baseline, split))
        new, old = ours[metric], theirs[metric]
        if len(new) != len(old):
            return None
        difference = new - old
        # Ties of the difference go by query id, so that the page is the same every time.
        order = sorted(range(len(ids)), key=lambda i: (-difference[i], ids[i]))
        gains = [i for i in order[:each] if difference[i] > 0]
        losses = [i for i in reversed(order[-each:]) if difference[i] < 0]
        chosen = {ids[i] for i in gains + losses}
        hits = {name: _top(context, name, split, chosen, top) for name in (system, baseline)}
        reader = _Reader(context, split)
        made = {i: reader.example(ids[i], float(old[i]), float(new[i]), hits[baseline].get(ids[i], []), hits[system].get(ids[i], [])) for i in gains + losses}
    except (UserError, KeyError):
        return None
    wins, defeats = int((difference > 0).sum()), int((difference < 0).sum())
    return Examples(system, baseline, split, metric, [made[i] for i in gains], [made[i] for i in losses], wins, defeats, len(ids) - wins - defeats)


def _top(context: Context, system: str, split: str, chosen: set[str], top: int) -> dict[str, list[str]]:
    """Query id → ids of the best passages; the run is streamed and left as soon as all queries were seen."""
    found: dict[str, list[str]] = {}
    for ranking in read_trec_run(context.paths.run(system, split)):
        if ranking.query_id in chosen:
            found[ranking.query_id] = ranking.ids[:top]
            if len(found) == len(chosen):
                break
    return found


class _Reader:
    """Texts of queries and passages; ids are looked up once for all examples."""

    def __init__(self, context: Context, split: str) -> None:
        self.store = CorpusStore(context.paths.corpus)
        self.queries = self.store.queries(split)
        self.qrels = self.store.qrels(split)
        self.least = context.experiment.evaluate.splits[split].relevance

    def example(self, query_id: str, baseline_value: float, system_value: float, baseline_ids: list[str], system_ids: list[str]) -> Example:
        grades = self.qrels.get(query_id, {})
        relevant = [name for name, grade in sorted(grades.items(), key=lambda item: (-item[1], item[0])) if grade >= self.least][:2]
        texts = self._texts(list(dict.fromkeys([*baseline_ids, *system_ids, *relevant])))
        made = [[Hit(rank, name, *texts[name], grades.get(name)) for rank, name in enumerate(names, 1)] for names in (baseline_ids, system_ids, relevant)]
        return Example(query_id, self.queries.get(query_id, ""), baseline_value, system_value, *made)

    def _texts(self, ids: list[str]) -> dict[str, tuple[str, str]]:
        titles, texts = self.store.texts(self.store.rows(ids))
        return {name: (title, text if len(text) <= SNIPPET else text[:SNIPPET].rsplit(" ", 1)[0] + " …") for name, title, text in zip(ids, titles, texts)}
