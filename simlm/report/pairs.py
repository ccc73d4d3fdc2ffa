"""Any two systems of the experiment against each other: the paired difference with its interval and test, and the settings in which they differ."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from simlm.config.metrics import spoken_metric
from simlm.context import Context
from simlm.evaluation.compare import ComparisonRow, comparison_rows, difference_intervals, read_values
from simlm.evaluation.numbers import p_text, signed
from simlm.files import write_text
from simlm.report.sides import Side, differing_settings

MOST = 12
"""Systems up to which all pairs are shown; of more, those that have seeds are compared as variants."""


@dataclass(frozen=True)
class Pair:
    """Two systems on the main split by the main metric.

    Attributes
    ----------
    test
        Holm's correction is over all pairs.
    low, high
        Bootstrap interval of the difference, over queries.
    settings
        (setting, of the first, of the second) wherever the blocks of the two differ.
    """

    test: ComparisonRow
    low: float
    high: float
    settings: list[tuple[str, str, str]]

    @property
    def verdict(self) -> str:
        """What the corrected test says of the first system."""
        return "no clear difference" if self.test.p_holm >= 0.05 else "better" if self.test.difference > 0 else "worse"

    @property
    def text(self) -> str:
        """The pair in a line, as MLflow shows it."""
        row = self.test
        difference = f"{signed(row.difference)} [{signed(self.low)}, {signed(self.high)}] {spoken_metric(row.metric)} on {row.split}"
        return f"{difference}, p {p_text(row.p_holm)} (Holm): {self.verdict}"


def pairs(context: Context) -> list[Pair]:
    """Every two judged systems, the later one first; none where their values per query are not there or they are more than :data:`MOST`."""
    experiment, evaluate = context.experiment, context.experiment.evaluate
    systems, split, metric = evaluate.systems, evaluate.main_split, evaluate.main_metric
    if not 1 < len(systems) <= MOST or not all(context.paths.per_query(system, split).exists() for system in systems):
        return []
    names = [(later, earlier) for earlier, later in combinations(systems, 2)]
    values = read_values(context.paths, systems, split, [metric])
    rows = comparison_rows(values, split, names, evaluate.model_copy(update={"metrics": [metric]}), experiment.seed)
    bounds = difference_intervals(values, split, metric, names, evaluate, experiment.seed)
    return [Pair(row, low, high, _settings(context, row)) for row, (low, high) in zip(rows, bounds)]


def _settings(context: Context, row: ComparisonRow) -> list[tuple[str, str, str]]:
    found = differing_settings(Side(context, row.system), Side(context, row.against))
    return [(name.partition(".")[2], first, second) for name, first, second in found]


def write_pairs(found: list[Pair], path: Path) -> None:
    """Write what :func:`pairs` found as JSON, for tools and for MLflow."""
    write_text(path, json.dumps({"pairs": [_plain(pair) for pair in found]}, indent=2, ensure_ascii=False) + "\n")


def _plain(pair: Pair) -> dict[str, Any]:
    row = pair.test
    return {
        "system": row.system, "against": row.against, "split": row.split, "metric": row.metric,
        "difference": round(row.difference, 6), "low": round(pair.low, 6), "high": round(pair.high, 6),
        "p": float(f"{row.p:.4g}"), "p_holm": float(f"{row.p_holm:.4g}"), "test": row.test, "queries": row.n,
        "won": row.wins, "lost": row.losses, "tied": row.ties, "text": pair.text, "settings": [list(setting) for setting in pair.settings],
    }  # fmt: skip
