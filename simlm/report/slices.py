"""Where does a system win? The main metric over slices of the queries, from files that are there: judgements, texts, values per query.

The slices: words of the query, the share of them that a relevant passage has too, the group of the corpus that the passage
belongs to, and the number of relevant passages. Averages over all queries hide what a dense retriever is for: queries
that do not use the words of their passage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from simlm.corpus.groups import groups
from simlm.corpus.store import CorpusStore
from simlm.evaluation.bootstrap import mean_intervals
from simlm.evaluation.metrics import mean
from simlm.lexical.analyzers import Analyzer

MOST_GROUPS = 7
"""Groups of a corpus that are shown; the others are one slice."""


@dataclass(frozen=True)
class QueryFacts:
    """What is known of each query (arrays of shape (queries,)): its words, the share of its distinct words in the relevant passage that has most of them
    (nan without one), its relevant passages, and the group of the first of them ("" where the corpus has none)."""

    words: np.ndarray
    share: np.ndarray
    relevant: np.ndarray
    group: list[str]


@dataclass(frozen=True)
class Slice:
    """Some of the queries: ``rows`` are their places; ``label`` says which they are of ``dimension``."""

    dimension: str
    label: str
    rows: np.ndarray


@dataclass(frozen=True)
class SliceRow:
    """One line of ``slices.tsv``: the main metric of a system over a slice, with its bootstrap interval."""

    dimension: str
    slice: str
    queries: int
    system: str
    value: float
    low: float
    high: float


LENGTH, SHARE, GROUP, RELEVANT = "words of the query", "share of the query's words in the relevant passage", "group of the corpus", "relevant passages"


def query_facts(store: CorpusStore, split: str, query_ids: list[str], least: int = 1) -> QueryFacts:
    """Read queries, judgements and the relevant passages; ``least`` is the grade from which a passage counts."""
    queries, qrels, words_of = store.queries(split), store.qrels(split), Analyzer("words")
    relevant = {}
    for query in query_ids:
        grades = qrels.get(query, {})
        relevant[query] = sorted((name for name, grade in grades.items() if grade >= least), key=lambda name: (-grades[name], name))
    ids = list(dict.fromkeys(name for names in relevant.values() for name in names))
    titles, texts = store.texts(store.rows(ids))
    words = {name: frozenset(words_of(f"{title} {text}")) for name, title, text in zip(ids, titles, texts)}
    group = groups(names[0] for names in relevant.values() if names)
    asked = [words_of(queries.get(query, "")) for query in query_ids]
    shares = [
        max((len({*own} & words[name]) / len({*own}) for name in relevant[query]), default=np.nan) if own else np.nan for query, own in zip(query_ids, asked)
    ]
    return QueryFacts(
        np.array([len(own) for own in asked]),
        np.array(shares, dtype=np.float64),
        np.array([len(relevant[query]) for query in query_ids]),
        [group.get(relevant[query][0], "") if relevant[query] else "" for query in query_ids],
    )


def slices(facts: QueryFacts) -> list[Slice]:
    """All slices; a dimension in which all queries are alike has none."""
    found = _ranges(LENGTH, facts.words) + _quarters(facts.share) + _groups(facts.group) + _ranges(RELEVANT, facts.relevant)
    count = Counter(one.dimension for one in found)
    return [one for one in found if count[one.dimension] > 1]


def _ranges(dimension: str, values: np.ndarray) -> list[Slice]:
    """Quarters of the queries by a count: equal counts stay together; up to four different ones are slices of their own.

    >>> [(one.label, one.rows.tolist()) for one in _ranges("n", np.array([3, 1, 2, 9, 2, 5, 4, 8]))]
    [('≤ 2', [1, 2, 4]), ('3', [0]), ('4–5', [5, 6]), ('≥ 8', [3, 7])]
    """
    known = sorted(set(values.tolist()))
    if len(known) <= 4:
        return [Slice(dimension, f"{value:,}", np.flatnonzero(values == value)) for value in known]
    ends = sorted({*(int(end) for end in np.quantile(values, [0.25, 0.5, 0.75], method="lower")), known[-1]})
    found, first = [], known[0]
    for place, last in enumerate(ends):
        rows = np.flatnonzero((values >= first) & (values <= last))
        label = f"≤ {last:,}" if place == 0 else f"≥ {first:,}" if place == len(ends) - 1 else f"{first:,}–{last:,}" if first < last else f"{last:,}"
        found.append(Slice(dimension, label, rows))
        first = next((value for value in known if value > last), last)
    return found


def _quarters(share: np.ndarray) -> list[Slice]:
    """Quarters of the share: at most a quarter, at most a half and so on."""
    bounds = ((-1.0, 0.25, "≤ 25 %"), (0.25, 0.5, "25–50 %"), (0.5, 0.75, "50–75 %"), (0.75, 1.0, "> 75 %"))
    found = [Slice(SHARE, label, np.flatnonzero((share > low) & (share <= high))) for low, high, label in bounds]
    return [one for one in found if len(one.rows)]


def _groups(names: list[str]) -> list[Slice]:
    """The groups with most queries, and the rest as one."""
    count = Counter(name for name in names if name)
    shown = [name for name, _ in sorted(count.items(), key=lambda item: (-item[1], item[0]))]
    shown, rest = (shown, []) if len(shown) <= MOST_GROUPS + 1 else (shown[:MOST_GROUPS], shown[MOST_GROUPS:])
    array = np.array(names, dtype=object)
    found = [Slice(GROUP, name, np.flatnonzero(array == name)) for name in shown]
    return found + ([Slice(GROUP, f"{len(rest):,} others", np.flatnonzero(np.isin(array, np.array(rest, dtype=object))))] if rest else [])


def slice_rows(found: Iterable[Slice], values: dict[str, np.ndarray], seed: int, resamples: int, confidence: float) -> list[SliceRow]:
    """The metric of every system over every slice; ``values`` are by system, of shape (queries,)."""
    table, rows = np.stack(list(values.values()), axis=1), []
    for number, one in enumerate(found):
        low, high = mean_intervals(table[one.rows], [seed, number], resamples, confidence)
        for place, system in enumerate(values):
            rows.append(SliceRow(one.dimension, one.label, len(one.rows), system, mean(table[one.rows, place]), float(low[place]), float(high[place])))
    return rows
