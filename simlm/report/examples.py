"""Queries to read: whose relevant passage a system puts far above or below where the baseline has it, with what both put on top."""

from __future__ import annotations

from dataclasses import dataclass

from simlm.context import Context
from simlm.corpus.groups import groups
from simlm.corpus.store import CorpusStore
from simlm.errors import UserError
from simlm.evaluation.files import read_per_query
from simlm.evaluation.ranks import first_relevant
from simlm.files import sha256_text
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
    """One query, the rank of its first relevant passage in every system's run (None: not in it), and what two systems put on top."""

    query_id: str
    query: str
    ranks: dict[str, int | None]
    baseline_hits: list[Hit]
    system_hits: list[Hit]
    relevant: list[Hit]


@dataclass(frozen=True)
class Examples:
    """Gains and losses of ``system`` against ``baseline`` on ``split``; wins, defeats and ties are counted by ``metric``, runs end at ``depth``."""

    system: str
    baseline: str
    split: str
    metric: str
    depth: int
    gains: list[Example]
    losses: list[Example]
    wins: int
    defeats: int
    ties: int


def examples(context: Context, system: str, each: int = 8, top: int = 3) -> Examples | None:
    """Queries whose relevant passage a system puts far above, or far below, where the baseline has it.

    Which of them are shown is drawn by the experiment's seed, evenly from the groups of the corpus; None when the values
    per query or the runs are not there (any more).
    """
    evaluate, paths = context.experiment.evaluate, context.paths
    split, metric, baseline = evaluate.main_split, evaluate.main_metric, evaluate.baseline
    if system == baseline:
        return None
    try:
        ids, ours = read_per_query(paths.per_query(system, split))
        _, theirs = read_per_query(paths.per_query(baseline, split))
        if len(ours[metric]) != len(theirs[metric]):
            return None
        difference = ours[metric] - theirs[metric]
        reader = _Reader(context, split)
        ranks = {name: first_relevant(read_trec_run(paths.run(name, split)), reader.qrels, reader.least) for name in evaluate.systems}
        chosen = [
            _choose({query: _distance(ranks[one].get(query), ranks[other].get(query)) for query in ids}, reader.group_of(ids), context.experiment.seed, each)
            for one, other in ((system, baseline), (baseline, system))
        ]
        shown = {query for queries in chosen for query in queries}
        hits = {name: _top(context, name, split, shown, top) for name in (system, baseline)}
        gains, losses = (
            [
                reader.example(query, {name: ranks[name].get(query) for name in evaluate.systems}, hits[baseline].get(query, []), hits[system].get(query, []))
                for query in queries
            ]
            for queries in chosen
        )
    except (UserError, KeyError):
        return None
    wins, defeats = int((difference > 0).sum()), int((difference < 0).sum())
    return Examples(system, baseline, split, metric, evaluate.depth, gains, losses, wins, defeats, len(ids) - wins - defeats)


def _distance(rank: int | None, other: int | None) -> float:
    """By how much a rank is better than another: the difference of their reciprocals, that of a passage that was not found being 0."""
    return (1 / rank if rank else 0.0) - (1 / other if other else 0.0)


def _choose(distances: dict[str, float], groups: dict[str, str], seed: int, each: int) -> list[str]:
    """The ``each`` largest distances above 0; of the many that are as large, one group of the corpus after the other, in an order of the seed.

    >>> _choose({"q1": 1.0, "q2": 1.0, "q3": 1.0, "q4": 0.5, "q5": -1.0}, {"q1": "a", "q2": "a", "q3": "b"}, 0, 2)
    ['q2', 'q3']
    """
    drawn = {query: sha256_text(f"{seed} {query}") for query in distances}
    left = sorted((query for query in distances if distances[query] > 0), key=lambda query: (-distances[query], drawn[query]))
    chosen: list[str] = []
    used: dict[str, int] = {}
    while left and len(chosen) < each:
        level = [query for query in left if distances[query] == distances[left[0]]]
        query = min(level, key=lambda query: (used.get(groups.get(query, ""), 0), drawn[query]))
        left.remove(query)
        chosen.append(query)
        used[groups.get(query, "")] = used.get(groups.get(query, ""), 0) + 1
    return chosen


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

    def relevant(self, query_id: str) -> list[str]:
        """Ids of the relevant passages, the highest grades first."""
        grades = self.qrels.get(query_id, {})
        return [name for name, grade in sorted(grades.items(), key=lambda item: (-item[1], item[0])) if grade >= self.least]

    def group_of(self, query_ids: list[str]) -> dict[str, str]:
        """Query id → group of the corpus that its first relevant passage belongs to, where the corpus has groups."""
        first = {query: names[0] for query in query_ids if (names := self.relevant(query))}
        known = groups(first.values())
        return {query: known[name] for query, name in first.items() if name in known}

    def example(self, query_id: str, ranks: dict[str, int | None], baseline_ids: list[str], system_ids: list[str]) -> Example:
        grades, relevant = self.qrels.get(query_id, {}), self.relevant(query_id)[:2]
        texts = self._texts(list(dict.fromkeys([*baseline_ids, *system_ids, *relevant])))
        made = [[Hit(rank, name, *texts[name], grades.get(name)) for rank, name in enumerate(names, 1)] for names in (baseline_ids, system_ids, relevant)]
        return Example(query_id, self.queries.get(query_id, ""), ranks, *made)

    def _texts(self, ids: list[str]) -> dict[str, tuple[str, str]]:
        titles, texts = self.store.texts(self.store.rows(ids))
        return {name: (title, text if len(text) <= SNIPPET else text[:SNIPPET].rsplit(" ", 1)[0] + " …") for name, title, text in zip(ids, titles, texts)}
