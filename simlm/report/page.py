"""Gathers what the files say and renders the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import simlm
from simlm.config.graph import headline_system
from simlm.config.metrics import spoken_metric
from simlm.context import Context
from simlm.errors import UserError
from simlm.evaluation import gate, numbers
from simlm.evaluation.compare import ComparisonRow, MetricRow, read_comparisons, read_metrics, read_rows, write_rows
from simlm.evaluation.table import relevance_text
from simlm.files import read_manifest, write_text
from simlm.records.stages import Stage, cautions, elsewhere, read_stages
from simlm.report import charts, tables
from simlm.report.costs import Cost
from simlm.report.curves import curve_charts, facts
from simlm.report.examples import examples
from simlm.report.false_negatives import false_negatives
from simlm.report.formats import COLUMNS, Results, gather, write_results
from simlm.report.graph import graph_svg
from simlm.report.pairs import pairs, write_pairs
from simlm.report.slices import SliceRow
from simlm.report.steps import steps
from simlm.report.variants import variants_section
from simlm.report.where import in_a_sentence, panels, where

TEMPLATES = Path(__file__).parent / "templates"

COST_CHARTS: tuple[tuple[str, str, Callable[[Cost], float | None]], ...] = (
    ("Quality against time per query", "milliseconds per query", lambda cost: cost.milliseconds),
    ("Quality against training", "minutes of training, with all that it needs", lambda cost: cost.training_seconds and cost.training_seconds / 60),
)
"""Title, label of the axis, the cost."""


def write_report(context: Context) -> Path:
    """Write ``report.html``, the charts (``plots/*.svg``) and the table (``results.md``, ``.tex``, ``.csv``) as files of their own; returns the report's path.

    Raises
    ------
    UserError
        If nothing has been evaluated yet, or if a file is damaged.
    """
    paths = context.paths
    rows = read_metrics(paths.metrics_table)
    if not rows:
        raise UserError(f"{paths.metrics_table} does not exist or is empty; run simlm compare-systems --experiment {context.experiment.name} first")
    comparisons = read_comparisons(paths.comparisons)
    # Not the record of an earlier report: the page would differ each time it is written.
    stages = [stage for stage in read_stages(context.experiment, paths) if stage.kind != "report"]
    results, slices = gather(context, rows, comparisons, stages), where(context)
    metric_charts, curves = _metric_charts(context, rows), curve_charts(context.experiment, stages)
    cost_charts = _cost_charts(context, rows, results)
    variants, compared = variants_section(context, rows), pairs(context)
    page = render(
        context,
        rows,
        comparisons,
        stages,
        results=results,
        variants=variants,
        pairs=compared,
        panels=panels(context, slices),
        where_sentence=in_a_sentence(context, slices),
        metric_charts=metric_charts,
        cost_charts=cost_charts,
        curves=curves,
    )
    for chart in [*metric_charts, *cost_charts, *([variants["chart"]] if variants else []), *curves]:
        write_text(paths.root / "plots" / f"{_file_name(chart.title)}.svg", chart.alone)
    write_results(results, paths.root)
    write_rows(paths.root / "slices.tsv", slices, SliceRow)
    write_pairs(compared, paths.pairs)
    write_text(paths.report, page)
    return paths.report


def render(context: Context, rows: list[MetricRow], comparisons: list[ComparisonRow], stages: list[Stage], **sections: Any) -> str:
    """The page as one string; every text from data passes through Jinja's escaping."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"duration": tables.duration, "p": numbers.p_text, "figure": numbers.figure, "signed": numbers.signed, "svg": Markup}
    environment.filters |= {"spoken": spoken_metric, "interval": lambda cell: numbers.interval(cell.low, cell.high)}
    experiment = context.experiment
    resources = tables.resource_rows([*tables.without_record(context.paths, stages), *stages])
    manifest, verdicts = _manifest(context.paths.corpus), reproduction(context)
    figures = published(context, rows)
    values: dict[str, Any] = {
        "experiment": experiment,
        "evaluate": experiment.evaluate,
        "version": simlm.__version__,
        "style": Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        "headline": headline(context, rows, comparisons),
        "comparisons": comparisons,
        "queries": {row.split: row.n_queries for row in rows},
        "levels": {split: relevance_text(judged) for split, judged in experiment.evaluate.splits.items()},
        "titles": tables.titles_used(experiment, manifest.get("passages", {}).get("with_title")),
        "cautions": cautions(stages),
        "small": tables.is_small(context),
        "published": figures,
        "published_metrics": [metric for metric in experiment.evaluate.metrics if any(metric in row["values"] for row in figures)],
        "not_comparable": {(row.split, row.system, row.metric, row.published_titles) for row in verdicts if row.verdict == gate.NOT_COMPARABLE},
        "reproduction": verdicts,
        "reproduced": gate.summary(verdicts),
        "steps": steps(experiment, comparisons),
        "false_negatives": false_negatives(experiment, stages),
        "cost_columns": COLUMNS,
        "trainings": facts(stages),
        "examples": examples(context, headline_system(experiment)),
        "resources": resources,
        "total_seconds": sum(row["seconds"] for row in resources),
        "peak": max((row["memory"] for row in resources), default=0.0),
        "time_chart": charts.bar_chart("Time per stage", _slowest(resources), "seconds") if resources else None,
        "graph": graph_svg(experiment),
        "corpus": tables.leaves(manifest),
        "environment": _newest(stages, "environment"),
        "hardware": _newest(stages, "hardware"),
        "git": _newest(stages, "git"),
        "elsewhere": elsewhere(stages),
        "notes": {stage.name: tables.leaves(stage.record["notes"]) for stage in stages if stage.record.get("notes")},
        "configuration": context.paths.config.read_text(encoding="utf-8") if context.paths.config.exists() else "",
        "root": str(context.paths.root),
        "dates": _dates(stages),
        "busy": tables.busy_seconds(stages),
        "speeds": tables.speeds(stages),
    }
    return environment.get_template("report.html").render(values | sections)


def headline(context: Context, rows: list[MetricRow], comparisons: list[ComparisonRow]) -> dict[str, Any]:
    """The figures of the first sentence."""
    evaluate = context.experiment.evaluate
    system, base = headline_system(context.experiment), evaluate.baseline
    found = {row.system: row for row in rows if row.split == evaluate.main_split and row.metric == evaluate.main_metric}
    pair = (system, base, evaluate.main_split, evaluate.main_metric)
    test = next((row for row in comparisons if (row.system, row.against, row.split, row.metric) == pair), None)
    best = max(found.values(), key=lambda row: row.value, default=None)
    ours, theirs = found.get(system), found.get(base)
    ratio = ours.value / theirs.value if ours and theirs and theirs.value and system != base else None
    return {"system": ours, "base": theirs, "ratio": ratio, "test": test, "best": best}


def published(context: Context, rows: list[MetricRow] | None = None) -> list[dict[str, Any]]:
    """Published figures of the same collection and splits, with our own beside them; none for other corpora.

    Each entry has ``split``, ``system``, ``titles``, ``source``, ``values`` (metric → figure), and, where a system of
    this experiment is its counterpart, ``ours`` (metric → our figure) and ``counterpart``.
    """
    from simlm.config.published import published_for

    evaluate = context.experiment.evaluate
    own = {(row.split, row.system, row.metric): row.value for row in rows or []}
    table: dict[tuple[str, str], dict[str, Any]] = {}
    for figure in published_for(context.experiment):
        if figure.metric not in evaluate.metrics or figure.split not in evaluate.splits:
            continue
        blank = {"split": figure.split, "system": figure.system, "titles": figure.titles, "source": figure.source, "values": {}, "ours": {}}
        row = table.setdefault((figure.split, figure.system), blank | {"counterpart": figure.counterpart})
        row["values"][figure.metric] = figure.value
        ours = own.get((figure.split, figure.counterpart, figure.metric))
        if ours is not None:
            row["ours"][figure.metric] = ours
    return list(table.values())


def reproduction(context: Context) -> list[gate.Verdict]:
    """Verdicts on the figures that have a published counterpart; none where nothing was judged."""
    file = context.paths.reproduction
    return read_rows(file, gate.Verdict) if file.exists() else []


def _metric_charts(context: Context, rows: list[MetricRow]) -> list[charts.Chart]:
    evaluate = context.experiment.evaluate
    made = []
    for metric in sorted(evaluate.metrics, key=lambda name: name != evaluate.main_metric):
        chosen = [row for row in rows if row.split == evaluate.main_split and row.metric == metric]
        base = next((row.value for row in chosen if row.system == evaluate.baseline), None)
        if chosen:
            made.append(charts.interval_chart(f"{spoken_metric(metric)} on {evaluate.main_split}", evaluate.systems, chosen, base))
    return made


def _cost_charts(context: Context, rows: list[MetricRow], results: Results) -> list[charts.Chart]:
    """The main metric against what it costs, where at least two systems say what."""
    evaluate, made = context.experiment.evaluate, []
    table = results.splits.get(evaluate.main_split, [])
    found = {row.system: row for row in rows if (row.split, row.metric) == (evaluate.main_split, evaluate.main_metric)}
    for title, label, cost_of in COST_CHARTS:
        drawn = [
            (place, row.letter, found[row.system], cost)
            for place, row in enumerate(table)
            if row.system in found and (cost := cost_of(results.costs[row.system]))
        ]
        if len(drawn) > 1:
            made.append(charts.cost_chart(title, drawn, label, spoken_metric(evaluate.main_metric)))
    return made


def _slowest(resources: list[dict[str, Any]], most: int = 20) -> dict[str, float]:
    rows = sorted(resources, key=lambda row: -row["seconds"])[:most]
    return {row["stage"]: row["seconds"] for row in rows}


def _manifest(corpus: Path) -> dict[str, Any]:
    file, shape = corpus / "manifest.json", {"sha256": str, "passages": dict, "splits": dict}
    return read_manifest(file, "the manifest of a corpus", "simlm prepare-corpus", shape) if file.exists() else {}


def _newest(stages: list[Stage], key: str) -> dict[str, Any]:
    return max(stages, key=lambda stage: stage.record.get("end", "")).record.get(key) or {} if stages else {}


def _dates(stages: list[Stage]) -> tuple[str, str] | None:
    starts, ends = [stage.record.get("start", "") for stage in stages], [stage.record.get("end", "") for stage in stages]
    return (min(starts)[:16].replace("T", " "), max(ends)[:16].replace("T", " ")) if stages else None


def _file_name(title: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-@" else "_" for letter in title.replace(": ", "-"))
