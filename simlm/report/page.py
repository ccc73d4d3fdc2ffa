"""Gathers what the files say and renders the page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import simlm
from simlm.config.graph import headline_system
from simlm.config.metrics import spoken_metric
from simlm.context import Context
from simlm.errors import UserError
from simlm.evaluation import gate, numbers
from simlm.evaluation.compare import ComparisonRow, MetricRow, read_comparisons, read_metrics, read_rows
from simlm.evaluation.results import result_rows
from simlm.evaluation.table import relevance_text
from simlm.files import read_manifest, write_text
from simlm.records.stages import Stage, cautions, elsewhere, read_stages
from simlm.report import charts, tables
from simlm.report.examples import examples
from simlm.report.formats import gather, write_results
from simlm.report.graph import graph_svg
from simlm.report.steps import steps
from simlm.report.variants import variants_section

TEMPLATES = Path(__file__).parent / "templates"


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
    metric_charts, curve_charts = _metric_charts(context, rows), _curves(context, stages)
    variants = variants_section(context, rows)
    page = render(context, rows, comparisons, stages, metric_charts, curve_charts, variants)
    for chart in [*metric_charts, *([variants["chart"]] if variants else []), *(chart for _, group, _ in curve_charts for chart in group)]:
        write_text(paths.root / "plots" / f"{_file_name(chart.title)}.svg", chart.alone)
    write_results(gather(context, rows, comparisons, stages), paths.root)
    write_text(paths.report, page)
    return paths.report


def render(
    context: Context,
    rows: list[MetricRow],
    comparisons: list[ComparisonRow],
    stages: list[Stage],
    metric_charts: list[charts.Chart],
    curve_charts: list[tuple[str, list[charts.Chart], str]],
    variants: dict[str, Any] | None = None,
) -> str:
    """The page as one string; every text from data passes through Jinja's escaping."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"duration": tables.duration, "p": numbers.p_text, "figure": numbers.figure, "signed": numbers.signed, "svg": Markup}
    environment.filters |= {"spoken": spoken_metric, "interval": lambda cell: numbers.interval(cell.low, cell.high)}
    experiment = context.experiment
    resources, manifest = tables.resource_rows(stages), _manifest(context.paths.corpus)
    values: dict[str, Any] = {
        "experiment": experiment,
        "evaluate": experiment.evaluate,
        "version": simlm.__version__,
        "style": Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        "headline": headline(context, rows, comparisons),
        "tables": {split: result_rows(rows, comparisons, split) for split in _splits(context)},
        "comparisons": comparisons,
        "queries": {row.split: row.n_queries for row in rows},
        "levels": {split: relevance_text(judged) for split, judged in experiment.evaluate.splits.items()},
        "titles": tables.titles_used(experiment, manifest.get("passages", {}).get("with_title")),
        "cautions": cautions(stages),
        "small": tables.is_small(context),
        "published": published(context, rows),
        "reproduction": reproduction(context),
        "reproduced": gate.summary(reproduction(context)),
        "steps": steps(experiment, comparisons),
        "variants": variants,
        "metric_charts": metric_charts,
        "curves": curve_charts,
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
    }
    return environment.get_template("report.html").render(values)


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


def _splits(context: Context) -> list[str]:
    """The main split first."""
    evaluate = context.experiment.evaluate
    return [evaluate.main_split, *(split for split in evaluate.splits if split != evaluate.main_split)]


def _metric_charts(context: Context, rows: list[MetricRow]) -> list[charts.Chart]:
    evaluate = context.experiment.evaluate
    made = []
    for metric in sorted(evaluate.metrics, key=lambda name: name != evaluate.main_metric):
        chosen = [row for row in rows if row.split == evaluate.main_split and row.metric == metric]
        base = next((row.value for row in chosen if row.system == evaluate.baseline), None)
        if chosen:
            made.append(charts.interval_chart(f"{spoken_metric(metric)} on {evaluate.main_split}", evaluate.systems, chosen, base))
    return made


def _curves(context: Context, stages: list[Stage]) -> list[tuple[str, list[charts.Chart], str]]:
    """Model, its charts, and a line of facts, for every training that left a curve."""
    made = []
    for stage in stages:
        if stage.kind != "train" or not stage.history:
            continue
        groups = _groups_of(stage)
        drawn = [charts.line_chart(f"{stage.subject}: {what}", curves) for what, curves in groups.items() if any(len(points) > 1 for points in curves.values())]
        rates = [line["tokens_per_second"] for line in stage.history if line.get("tokens_per_second")]
        facts = f"{stage.history[-1]['step']:,} steps in {tables.duration(stage.seconds)}"
        if rates:
            facts += f", {sorted(rates)[len(rates) // 2]:,.0f} tokens a second (median)"
        # What was measured once, at the end, is a number and not a curve.
        single = {f"{what} {name}": points[0][1] for what, curves in groups.items() for name, points in curves.items() if len(points) == 1 and what != "loss"}
        facts += "".join(f"; {name} {value:.3f}" for name, value in single.items())
        made.append((stage.subject, drawn, facts))
    return made


def _groups_of(stage: Stage) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Chart → curve → points: the losses of training, the numbers of held-out data, the retrieval probe."""
    groups: dict[str, dict[str, list[tuple[float, float]]]] = {"loss": {}, "held-out": {}, "probe": {}}
    for line in stage.history:
        for name, value in line.items():
            folder, _, last = name.rpartition("/")
            group = "probe" if folder == "probe" else "held-out" if folder else "loss" if "loss" in name else None
            if group and isinstance(value, int | float) and math.isfinite(value):
                groups[group].setdefault(last, []).append((line["step"], value))
    # A loss with one part is drawn once.
    total = groups["loss"].get("loss", [])
    losses = {name: points for name, points in groups["loss"].items() if name == "loss" or not _alike(points, total)}
    return {what: curves for what, curves in (groups | {"loss": losses}).items() if curves}


def _alike(one: list[tuple[float, float]], other: list[tuple[float, float]]) -> bool:
    return len(one) == len(other) and all(math.isclose(y, z, rel_tol=1e-3) for (_, y), (_, z) in zip(one, other))


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
