"""Charts as SVG through matplotlib, drawn so that their colours follow the page (light or dark)."""

from __future__ import annotations

import io
import math
import re
import textwrap
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from simlm.evaluation.numbers import figure as figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from simlm.evaluation.compare import MetricRow

INK, FAINT = "#010203", "#040506"
"""Stand-ins that the page replaces by its own text and line colours."""

PALETTE = ("#0070b2", "#e05f12", "#46927f", "#9326ff", "#b83f2e", "#0091a6", "#5a80f2", "#4b9b5f")
"""Told apart by colour-blind eyes, readable on white and on near-black (tests/report/test_charts.py measures both)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Beside the colours, which nobody needs to see."""

WIDTH, TEXT = 4.6, 12
"""Inches of a chart and points of its text: in the page one point is a pixel or more, because a chart is never shown smaller."""
TITLE = 36
"""Letters of a title that fit into a line."""
CLEAR = 14
"""Points between a letter and what it must not lie on."""


@dataclass(frozen=True)
class Chart:
    """A drawn chart: ``inline`` for the page, ``alone`` as a file of its own."""

    title: str
    inline: str
    alone: str


def line_chart(title: str, curves: dict[str, list[tuple[float, float]]], x_label: str, y_label: str, order: list[str] | None = None) -> Chart:
    """Curves by name as lists of (x, y), every point marked.

    ``order`` are all names that may be drawn, so that a name has its colour and marker in every chart.
    """
    order = order or list(curves)
    rows = -(-len(curves) // 3)
    figure, axes = _axes(WIDTH, 3.0 + 0.25 * rows)
    for name, points in curves.items():
        xs, ys = zip(*points)
        place = order.index(name)
        style = {"color": PALETTE[place % len(PALETTE)], "marker": MARKERS[place % len(MARKERS)], "linestyle": "-" if place < len(PALETTE) else "--"}
        axes.plot(xs, ys, label=name, linewidth=1.5, markersize=5, **style)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.margins(x=0.03)
    figure.legend(loc="outside lower left", ncols=3, frameon=False, fontsize=TEXT, labelcolor=INK, handlelength=1.6, columnspacing=1, handletextpad=0.4)
    return _finish(figure, axes, title)


def interval_chart(title: str, systems: list[str], rows: list[MetricRow], baseline: float | None) -> Chart:
    """One metric by system with its confidence intervals; the baseline as a dashed line, the values in a column of their own."""
    found = {row.system: row for row in rows}
    shown = [system for system in systems if system in found]
    figure, axes = _axes(WIDTH, 0.9 + 0.34 * len(shown))
    for place, system in enumerate(reversed(shown)):
        row, colour = found[system], PALETTE[0] if system != shown[0] else PALETTE[1]
        axes.plot([row.ci_low, row.ci_high], [place, place], color=colour, linewidth=2.2, solid_capstyle="round", alpha=0.55)
        axes.plot([row.value], [place], "o" if system != shown[0] else "s", color=colour, markersize=6, clip_on=False)
    if baseline is not None:
        axes.axvline(baseline, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), alpha=0.6)
    axes.margins(x=0.06)
    low, high = axes.get_xlim()
    axes.set_xlim(max(0.0, low), min(1.0, high))
    for side, labels in ((axes, shown), (axes.twinx(), [figure_of(found[system].value) for system in shown])):
        side.set_yticks(range(len(shown)), reversed(labels))
        side.set_ylim(-0.6, len(shown) - 0.4)
        _plain(side)
    return _finish(figure, axes, title)


def cost_chart(title: str, rows: list[tuple[int, str, MetricRow, float]], x_label: str, y_label: str) -> Chart:
    """Quality against cost: (place in the table, letter, figures, cost) of each system; the letter stands beside the point, costs on a logarithmic scale."""
    from matplotlib.ticker import LogLocator

    figure, axes = _axes(WIDTH, 3.2)
    for place, _, row, cost in rows:
        colour = PALETTE[place % len(PALETTE)]
        axes.plot([cost, cost], [row.ci_low, row.ci_high], color=colour, linewidth=2, alpha=0.5)
        axes.plot([cost], [row.value], MARKERS[place % len(MARKERS)], color=colour, markersize=7, clip_on=False)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    costs = [cost for *_, cost in rows]
    axes.set_xlim(min(costs) / 2, max(costs) * 2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    axes.set_ylim(max(0.0, axes.get_ylim()[0]), min(1.0, axes.get_ylim()[1]))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    _letters(figure, axes, [(letter, cost, row.value) for _, letter, row, cost in rows])
    return _finish(figure, axes, title)


def _letters(figure: Figure, axes: Any, points: list[tuple[str, float, float]]) -> None:
    """Write each point's letter beside it, on the side that lies furthest from the other points and their letters."""
    figure.draw_without_rendering()  # gives the axes their place
    taken = [tuple(axes.transData.transform(point[1:]) * 72 / figure.dpi) for point in points]
    for (letter, *point), (x, y) in zip(points, list(taken)):
        others = [one for one in taken if one != (x, y)]
        sides = [(7, 3), (-16, 3), (7, -14), (-16, -14)]
        room = [min((math.dist((x + dx + 4, y + dy + 4), other) for other in others), default=CLEAR) for dx, dy in sides]
        dx, dy = sides[max(range(len(sides)), key=lambda i: min(room[i], CLEAR))]
        axes.annotate(letter, point, xytext=(dx, dy), textcoords="offset points", fontsize=TEXT, fontweight="bold", color=INK)
        taken.append((x + dx + 4, y + dy + 4))


def bar_chart(title: str, values: dict[str, float], x_label: str) -> Chart:
    """Horizontal bars by name, largest on top."""
    ordered = sorted(values.items(), key=lambda item: item[1])
    figure, axes = _axes(WIDTH, 0.9 + 0.28 * len(ordered))
    axes.barh([name for name, _ in ordered], [value for _, value in ordered], color=PALETTE[0], height=0.62)
    axes.set_xlabel(x_label)
    axes.margins(x=0.02, y=0.01)
    counts = axes.twinx()
    counts.set_yticks(range(len(ordered)), [f"{value:,.0f}" for _, value in ordered])
    counts.set_ylim(axes.get_ylim())
    _plain(counts)
    return _finish(figure, axes, title)


def _axes(width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(True, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(INK)
        axis.label.set_fontsize(TEXT)
    axes.locator_params(axis="x", nbins=5)
    _plain(axes)
    return figure, axes


def _plain(axes: Any) -> None:
    axes.tick_params(colors=INK, labelsize=TEXT, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _finish(figure: Figure, axes: Any, title: str) -> Chart:
    import matplotlib

    figure.suptitle(textwrap.fill(title, TITLE, break_on_hyphens=False), x=0.02, ha="left", fontsize=TEXT, fontweight="bold", color=INK)

    buffer = io.StringIO()
    # Text stays text (searchable, in the page's font); the salt makes ids, and so the file, the same every time.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Title": title})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # matplotlib's metadata block names outside vocabularies that an offline page has no use for.
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    prefix = re.sub(r"\W+", "-", title)
    inline = re.sub(r'(id="|url\(#|href="#)', rf"\1{prefix}-", svg)
    inline = inline.replace(INK, "var(--ink)").replace(FAINT, "var(--line)")
    inline = re.sub(r"font-family: [^;\"]+", "font-family: inherit", inline)
    # A style sheet inside an inline picture would hold for the whole page.
    inline = re.sub(r"<style.*?</style>", "", inline, flags=re.DOTALL)
    width = f"{72 * figure.get_size_inches()[0]:.0f}px"
    inline = re.sub(
        r'<svg (.*?)width="[^"]*" height="[^"]*"', rf'<svg class="chart" style="min-width:{width}" role="img" aria-label="{escape(title)}" \1', inline, count=1
    )
    return Chart(title, inline, svg.replace(INK, "#24292f").replace(FAINT, "#d8dee4"))
