"""The section on variants: averages over seeds with their spread, a chart of them, and all paired tests as a square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simlm.evaluation.numbers import figure as value_figure
from simlm.evaluation.variants import VariantRow, VariantTest, read_variant_tests, read_variants, turned, value_text, variants_of
from simlm.report import charts

if TYPE_CHECKING:
    from simlm.context import Context
    from simlm.evaluation.compare import MetricRow


@dataclass(frozen=True)
class Line:
    """A variant of the table: what it is, how many seeds, metric → value with its spread, and variant → the test against it."""

    name: str
    about: str
    runs: int
    values: dict[str, str]
    against: dict[str, VariantTest]


def variants_section(context: Context, rows: list[MetricRow]) -> dict[str, Any] | None:
    """What the page shows of variants on the main split, the best first; None for an experiment without them.

    Parameters
    ----------
    rows
        ``metrics.tsv``, which has the single runs.
    """
    experiment, evaluate = context.experiment, context.experiment.evaluate
    found = [row for row in read_variants(context.paths.variants) if row.split == evaluate.main_split]
    if not experiment.variants or not found:
        return None
    tests = [row for row in read_variant_tests(context.paths.variant_tests) if (row.split, row.metric) == (evaluate.main_split, evaluate.main_metric)]
    square = {(test.system, test.against): test for row in tests for test in (row, turned(row))}
    members, main = variants_of(experiment), {row.variant: row for row in found if row.metric == evaluate.main_metric}
    names = sorted((name for name in members if name in main), key=lambda name: -main[name].value)
    values = {(row.variant, row.metric): value_text(row) for row in found}
    lines = [
        Line(
            name,
            experiment.system(members[name][0]).about(),
            main[name].runs,
            {metric: values[name, metric] for metric in evaluate.metrics if (name, metric) in values},
            {other: square[name, other] for other in names if (name, other) in square},
        )
        for name in names
    ]
    single = {row.system: row.value for row in rows if (row.split, row.metric) == (evaluate.main_split, evaluate.main_metric)}
    chart = variants_chart(
        f"{evaluate.main_metric} by variant", [main[name] for name in names], {name: [single[one] for one in members[name]] for name in names}
    )
    return {"lines": lines, "chart": chart, "split": evaluate.main_split, "metric": evaluate.main_metric}


def variants_chart(title: str, rows: list[VariantRow], single: dict[str, list[float]]) -> charts.Chart:
    """Average (large), its interval over queries (bar) and the seeds it is made of (rings), the first row on top."""
    figure, axes = charts._axes(charts.WIDTH, 0.9 + 0.34 * len(rows))
    for place, row in enumerate(reversed(rows)):
        axes.plot([row.ci_low, row.ci_high], [place, place], color=charts.PALETTE[0], linewidth=2.2, solid_capstyle="round", alpha=0.45)
        axes.plot(single[row.variant], [place] * len(single[row.variant]), "o", color=charts.PALETTE[1], markersize=4.5, fillstyle="none")
        axes.plot([row.value], [place], "o", color=charts.PALETTE[0], markersize=6)
    axes.margins(x=0.06)
    for side, labels in ((axes, [row.variant for row in rows]), (axes.twinx(), [value_figure(row.value) for row in rows])):
        side.set_yticks(range(len(rows)), reversed(labels))
        side.set_ylim(-0.6, len(rows) - 0.4)
        charts._plain(side)
    return charts._finish(figure, axes, title)
