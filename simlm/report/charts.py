"""Charts as SVG through matplotlib, drawn so that their colours follow the page (light or dark)."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simlm.evaluation.numbers import figure as figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from simlm.evaluation.compare import MetricRow

INK, FAINT = "#010203", "#040506"
"""Stand-ins that the page replaces by its own text and line colours."""

PALETTE = ("#4269d0", "#e0841a", "#3a9d6e", "#c0456f", "#8a63d2", "#0f95a8", "#9a7b4f", "#c9402f")
"""Colour-blind-aware, readable on white and on near-black."""


@dataclass(frozen=True)
class Chart:
    """A drawn chart: ``inline`` for the page, ``alone`` as a file of its own."""

    title: str
    inline: str
    alone: str


def line_chart(title: str, curves: dict[str, list[tuple[float, float]]], x_label: str = "step") -> Chart:
    """Curves by name as lists of (x, y); few points are marked, so that a single one can be seen."""
    figure, axes = _axes(5.4, 3.0)
    for i, (name, points) in enumerate(curves.items()):
        xs, ys = zip(*points)
        marker = "o" if len(points) <= 15 else None
        axes.plot(xs, ys, label=name, color=PALETTE[i % len(PALETTE)], linewidth=1.6, marker=marker, markersize=3.5)
    axes.set_xlabel(x_label)
    axes.margins(x=0.02)
    if list(curves) != ["loss"]:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    return _finish(figure, title)


def interval_chart(title: str, systems: list[str], rows: list[MetricRow], baseline: float | None) -> Chart:
    """One metric by system with its confidence intervals; the baseline as a dashed line."""
    found = {row.system: row for row in rows}
    shown = [system for system in systems if system in found]
    figure, axes = _axes(5.4, 0.9 + 0.34 * len(shown))
    for place, system in enumerate(reversed(shown)):
        row, colour = found[system], PALETTE[0] if system != shown[0] else PALETTE[1]
        axes.plot([row.ci_low, row.ci_high], [place, place], color=colour, linewidth=2.2, solid_capstyle="round", alpha=0.55)
        axes.plot([row.value], [place], "o", color=colour, markersize=6)
        axes.annotate(figure_of(row.value), (row.ci_high, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=9, color=INK)
    if baseline is not None:
        axes.axvline(baseline, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), alpha=0.6)
    axes.set_yticks(range(len(shown)), reversed(shown))
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.margins(x=0.14)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    return _finish(figure, title)


def bar_chart(title: str, values: dict[str, float], x_label: str) -> Chart:
    """Horizontal bars by name, largest on top."""
    ordered = sorted(values.items(), key=lambda item: item[1])
    figure, axes = _axes(5.4, 0.9 + 0.26 * len(ordered))
    axes.barh([name for name, _ in ordered], [value for _, value in ordered], color=PALETTE[0], height=0.62)
    for place, (_, value) in enumerate(ordered):
        axes.annotate(f"{value:,.0f}", (value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK)
    axes.set_xlabel(x_label)
    axes.margins(x=0.12, y=0.01)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    return _finish(figure, title)


def _axes(width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(True, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.xaxis.label.set_color(INK)
    axes.xaxis.label.set_fontsize(9)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure, axes


def _finish(figure: Figure, title: str) -> Chart:
    import matplotlib

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
    inline = re.sub(r'<svg (.*?)width="[^"]*" height="[^"]*"', r'<svg class="chart" role="img" \1', inline, count=1)
    return Chart(title, inline, svg.replace(INK, "#24292f").replace(FAINT, "#d8dee4"))
