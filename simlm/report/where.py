"""The section "Where does it win?": the main metric by slices of the queries, as tables of small charts."""

from __future__ import annotations

from dataclasses import dataclass

from simlm.config.graph import headline_system
from simlm.config.metrics import spoken_metric
from simlm.context import Context
from simlm.corpus.store import CorpusStore
from simlm.errors import UserError
from simlm.evaluation.compare import read_values
from simlm.evaluation.files import read_per_query
from simlm.evaluation.numbers import figure
from simlm.report.slices import SHARE, SliceRow, query_facts, slice_rows, slices

FEWEST = 10
"""Queries that a slice needs to be spoken of in the sentence at the top."""


@dataclass(frozen=True)
class Panel:
    """One way to slice the queries: ``heads`` are (label, queries); ``lines`` are (system, its cells), ``best`` the largest value of each column."""

    dimension: str
    heads: list[tuple[str, int]]
    lines: list[tuple[str, list[SliceRow]]]
    best: list[float]
    baseline: list[float]


def where(context: Context) -> list[SliceRow]:
    """All slices of the main split; none where values per query, judgements or texts are not there (any more)."""
    evaluate, paths = context.experiment.evaluate, context.paths
    split, metric = evaluate.main_split, evaluate.main_metric
    try:
        ids, _ = read_per_query(paths.per_query(evaluate.systems[0], split))
        values = {system: columns[metric] for system, columns in read_values(paths, evaluate.systems, split, [metric]).items()}
        facts = query_facts(CorpusStore(paths.corpus), split, ids, evaluate.splits[split].relevance)
    except UserError:
        return []
    return slice_rows(slices(facts), values, context.experiment.seed, evaluate.resamples, evaluate.confidence)


def panels(context: Context, rows: list[SliceRow]) -> list[Panel]:
    """The rows as tables, a table per dimension."""
    made = []
    for dimension in dict.fromkeys(row.dimension for row in rows):
        here = [row for row in rows if row.dimension == dimension]
        heads = list(dict.fromkeys((row.slice, row.queries) for row in here))
        lines = [(system, [row for row in here if row.system == system]) for system in dict.fromkeys(row.system for row in here)]
        columns = list(zip(*(cells for _, cells in lines)))
        baseline = next((cells for system, cells in lines if system == context.experiment.evaluate.baseline), [])
        made.append(Panel(dimension, heads, lines, [max(cell.value for cell in column) for column in columns], [cell.value for cell in baseline]))
    return made


def in_a_sentence(context: Context, rows: list[SliceRow]) -> str:
    """The headline system against the baseline where the query's words are least and most in the passage; empty where nothing can be said."""
    evaluate, system = context.experiment.evaluate, headline_system(context.experiment)
    found = {(row.slice, row.system): row for row in rows if row.dimension == SHARE and row.queries >= FEWEST}
    labels = list(dict.fromkeys(label for label, _ in found))
    if len(labels) < 2 or system == evaluate.baseline:
        return ""
    parts = []
    for label, what in ((labels[0], "fewest"), (labels[-1], "most")):
        own, base = found[label, system], found[label, evaluate.baseline]
        parts.append(f"{figure(own.value)} against {figure(base.value)} where the passage has {what} of the query's words ({label}, {own.queries:,} queries)")
    return f"{spoken_metric(evaluate.main_metric)} of {system} against {evaluate.baseline}: {parts[0]}, {parts[1]}."
