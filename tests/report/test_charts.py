"""Charts that can be read: sizes, axes, colours for every eye."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from simlm.evaluation.compare import MetricRow
from simlm.report.charts import MARKERS, PALETTE, TEXT, WIDTH, cost_chart, interval_chart, line_chart
from simlm.report.curves import SHARES, curves, thinned

DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}
"""Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB."""


def linear(colour: str) -> np.ndarray:
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def luminance(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_neighbouring_colours_are_told_apart(deficiency):
    seen = [lab(np.array(DEFICIENCIES[deficiency]) @ linear(colour)) for colour in PALETTE]
    distances = {(PALETTE[i], PALETTE[j]): float(np.linalg.norm(seen[i] - seen[j])) for i, j in itertools.combinations(range(len(seen)), 2)}
    assert min(distances.values()) > 10, min(distances, key=distances.get)
    assert len(set(MARKERS)) == len(MARKERS) == len(PALETTE)


@pytest.mark.parametrize("paper", ["#f6f8fa", "#181d23"])
def test_colours_stand_out_from_the_panels_of_the_page(paper):
    for colour in PALETTE:
        light, dark = sorted((luminance(colour), luminance(paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, colour


def ticks(svg: str) -> list[float]:
    return [float(text) for text in re.findall(r">\s*(-?\d+\.\d+)\s*</text>", svg)]


def test_no_axis_goes_beyond_what_a_metric_can_be():
    rows = [MetricRow(name, "test", "R@50", value, value - 0.02, min(1, value + 0.03), 20) for name, value in (("bm25", 0.9), ("dense", 0.99))]
    chart = interval_chart("R@50 on test", ["bm25", "dense"], rows, 0.9)
    assert max(ticks(chart.inline)) <= 1.0
    assert "0.9900" in chart.inline


def test_text_is_never_smaller_than_twelve_pixels():
    chart = line_chart("loss", {name: [(5.0, 1.0), (100.0, 0.5)] for name in "abcd"}, "share of the training (%)", "loss")
    sizes = [float(size) for size in re.findall(r"font-size: (\d+(?:\.\d+)?)px", chart.inline)]
    assert sizes
    assert min(sizes) >= 12 <= TEXT
    assert f"min-width:{72 * WIDTH:.0f}px" in chart.inline, "and the picture is not shown smaller than it is drawn"
    assert "share of the training (%)" in chart.inline


def test_a_long_title_stays_inside_its_chart():
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    title = "held-out decoder loss (SimLM pre-training)"
    svg = line_chart(title, {"simlm": [(5.0, 1.0), (100.0, 0.5)]}, "share of the training (%)", "loss").inline
    lines = [(float(x), text) for x, text in re.findall(r'<text style="font-weight: 700[^>]*translate\(([\d.]+)[^>]*>([^<]+)</text>', svg)]
    assert " ".join(text for _, text in lines) == title
    widths = [TextPath((0, 0), text, size=TEXT, prop=FontProperties(family="DejaVu Sans", weight="bold")).get_extents().x1 for _, text in lines]
    assert all(x + width < 72 * WIDTH for (x, _), width in zip(lines, widths))


def test_letters_of_systems_that_cost_the_same_are_apart():
    """Two systems of nearly the same quality and cost, as BM25 and the distilled retriever of the default."""
    figures = [("a", 0.5722, 1.7), ("b", 0.5502, 2.1), ("d", 0.5730, 0.99), ("f", 0.5679, 1.6), ("g", 0.6249, 5.9)]
    rows = [(i, letter, MetricRow(letter, "test", "RR@10", value, value - 0.02, value + 0.02, 20), cost) for i, (letter, value, cost) in enumerate(figures)]
    svg = cost_chart("Quality against time per query", rows, "milliseconds per query", "MRR@10").inline
    places = [(float(x), float(y)) for x, y in re.findall(r'<text style="font-weight: 700[^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>[abdfg]</text>', svg)]
    assert len(places) == len(figures)
    assert min(np.hypot(x - u, y - v) for (x, y), (u, v) in itertools.combinations(places, 2)) > 0.9 * TEXT


def test_a_quantity_has_one_curve_per_model_with_a_point_per_twentieth(made):
    from simlm.records.stages import read_stages

    found = curves(made.experiment, read_stages(made.experiment, made.paths))
    assert {"control", "retriever1", "retriever2", "distilled"} == set(found["loss (dense retriever)"])
    assert {"base", "generator"} <= set(found[next(name for name in found if name.startswith("loss (") and "base" in found[name])])
    assert found["probe: MRR@10"]["simlm"] == [
        (25.0, pytest.approx(0.15)),
        (50.0, pytest.approx(0.2)),
        (75.0, pytest.approx(0.25)),
        (100.0, pytest.approx(0.3)),
    ]
    steps = thinned([(step, float(step)) for step in range(1, 1001)], 1000)
    assert [value for _, value in steps] == [50.0 * part for part in range(1, SHARES + 1)]
