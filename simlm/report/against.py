"""Two systems of two experiments against each other: paired tests on the same queries, and the settings in which they differ."""

from __future__ import annotations

from dataclasses import dataclass

from simlm.config.graph import headline_system
from simlm.config.metrics import spoken_metric
from simlm.context import Context
from simlm.errors import UserError, nearest
from simlm.evaluation.compare import ComparisonRow, Values, comparison_rows
from simlm.evaluation.files import read_per_query
from simlm.evaluation.metrics import mean
from simlm.evaluation.numbers import figure, p_text, signed
from simlm.evaluation.table import columns
from simlm.report.overview import corpus_of
from simlm.report.sides import Side, differing_settings


def side_of(name: str, contexts: list[Context]) -> Side:
    """``EXPERIMENT/SYSTEM``, or an experiment alone, which stands for its headline system.

    Raises
    ------
    UserError
        If there is no such experiment, or if it has not judged the system; with the nearest name.
    """
    experiment, _, system = name.partition("/")
    known = {context.experiment.name: context for context in contexts}
    if experiment not in known:
        raise UserError(f"no experiment with metrics is called '{experiment}'{nearest(experiment, known)} (there are {', '.join(known)})")
    context = known[experiment]
    judged = context.experiment.evaluate.systems
    if system and system not in judged:
        raise UserError(f"'{experiment}' has judged no system called '{system}'{nearest(system, judged)} (it has {', '.join(judged)})")
    return Side(context, system or headline_system(context.experiment))


@dataclass(frozen=True)
class Against:
    """The tests of one system against another: rows with the averages of both; ``cautions`` are sentences."""

    first: Side
    second: Side
    tests: list[tuple[ComparisonRow, float, float]]
    settings: list[tuple[str, str, str]]
    cautions: list[str]


def against(first: Side, second: Side, splits: list[str] | None = None) -> Against:
    """Test two systems on all splits and metrics that both were judged by.

    Raises
    ------
    UserError
        If they have no split and metric in common, or if a split is about other queries.
    """
    one, two = first.context.experiment.evaluate, second.context.experiment.evaluate
    metrics = [metric for metric in one.metrics if metric in two.metrics]
    both = [split for split in one.splits if split in two.splits]
    pair = f"{first.name} and {second.name}"
    for split in splits or []:
        if split not in both:
            raise UserError(f"{pair} were not both judged on the split '{split}'{nearest(split, both)} (both: {', '.join(both) or 'none'})")
    if not both or not metrics:
        raise UserError(f"{pair} have no {'metric' if both else 'split'} in common, so that nothing compares them")
    if first == second:
        raise UserError(f"{first.name} is the same system twice; name another")
    names = (first.name, second.name)
    rows = []
    for split in splits or both:
        values = _values(first, second, split, metrics)
        settings = one.model_copy(update={"metrics": metrics})
        for row in comparison_rows(values, split, [names], settings, first.context.experiment.seed):
            rows.append((row, *(mean(values[name][row.metric]) for name in names)))
    corpora = [corpus_of(side.context) for side in (first, second)]
    cautions = [] if corpora[0] == corpora[1] else [f"the corpora differ ({corpora[0]}; {corpora[1]}), so that the difference is not that of the systems alone"]
    cautions += [
        f"the split '{split}' counts other grades as relevant in the two experiments" for split in splits or both if one.splits[split] != two.splits[split]
    ]
    return Against(first, second, rows, differing_settings(first, second), cautions)


def _values(first: Side, second: Side, split: str, metrics: list[str]) -> Values:
    values: Values = {}
    order: list[str] = []
    for side in (first, second):
        ids, columns_of = read_per_query(side.context.paths.per_query(side.system, split))
        if order and set(ids) != set(order):
            common = f"{len({*ids} & {*order}):,} of {len(order):,} and {len(ids):,} are the same"
            raise UserError(
                f"{first.name} and {second.name} were judged on other queries of the split '{split}' ({common}), so that no paired test compares them; "
                "judge both on the same queries, or name another split with --split"
            )
        order = order or ids
        place = {query: i for i, query in enumerate(ids)}
        rows = [place[query] for query in order]
        values[side.name] = {metric: columns_of[metric][rows] for metric in metrics}
    return values


def text(found: Against) -> str:
    """The answer for a terminal."""
    first, second = found.first.name, found.second.name
    lines = [["split", "metric", first, second, "difference", "p", "won", "lost", "tied"]]
    for row, one, two in found.tests:
        counts = [f"{count:,}" for count in (row.wins, row.losses, row.ties)]
        lines.append([row.split, spoken_metric(row.metric), figure(one), figure(two), signed(row.difference), p_text(row.p), *counts])
    blocks = [columns(lines, left=2), f"p: paired {found.tests[0][0].test} over {found.tests[0][0].n:,} queries; won, lost and tied are queries of {first}."]
    blocks += [f"Caution: {sentence}." for sentence in found.cautions]
    if found.settings:
        blocks.append("Settings that differ:\n" + columns([["", first, second], *(list(row) for row in found.settings)], left=3))
    else:
        blocks.append("Their settings are the same.")
    return "\n\n".join(blocks)
