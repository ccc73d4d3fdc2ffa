"""Variants of an experiment: one configuration trained with several seeds, averaged with its spread and compared with every other.

A variant's value of a query is the mean over its seeds. The tests are paired over queries and so answer whether *these* trainings
differ on other queries of the kind; what another seed would do is the spread (standard deviation of the seeds' averages), and ``p_seeds``,
Welch's t-test between the averages of the seeds. A difference is worth believing where both agree: with three seeds the second has little
power, and the first knows nothing of luck in training. An evaluated system that belongs to no variant is one of a single run.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simlm.config.metrics import spoken_metric
from simlm.evaluation.compare import ComparisonRow, MetricRow, Values, average_rows, comparison_rows, read_rows
from simlm.evaluation.metrics import mean
from simlm.evaluation.numbers import figure
from simlm.evaluation.table import columns

if TYPE_CHECKING:
    from simlm.config.experiment import Evaluate, Experiment


@dataclass(frozen=True)
class VariantRow:
    """One line of ``variants.tsv``: ``value`` is the average over ``runs`` seeds, ``spread`` their deviation (nan for one), the interval one over queries."""

    variant: str
    split: str
    metric: str
    value: float
    spread: float
    ci_low: float
    ci_high: float
    runs: int
    n_queries: int


@dataclass(frozen=True)
class VariantTest(ComparisonRow):
    """One line of ``variant_tests.tsv``: a paired test of the means over seeds, and ``p_seeds`` over the averages of the seeds (nan for single runs)."""

    p_seeds: float


def variants_of(experiment: Experiment) -> dict[str, list[str]]:
    """Variant → its systems, in the order of the evaluated ones; a system of none is a variant of its own."""
    own = {system: name for name, members in experiment.variants.items() for system in members}
    names = dict.fromkeys(own.get(system, system) for system in experiment.evaluate.systems)
    return {name: experiment.variants.get(name, [name]) for name in names}


def variant_rows(values: Values, variants: dict[str, list[str]], split: str, settings: Evaluate, seed: int) -> list[VariantRow]:
    """Averages of one split; intervals are those of :func:`~simlm.evaluation.compare.average_rows`, of the means over seeds."""
    rows = []
    for row in average_rows(_means(values, variants), split, settings, seed):
        own = _averages(values, variants[row.system], row.metric)
        spread = float(np.std(own, ddof=1)) if len(own) > 1 else math.nan
        rows.append(VariantRow(row.system, split, row.metric, row.value, spread, row.ci_low, row.ci_high, len(own), row.n_queries))
    return rows


def variant_tests(values: Values, variants: dict[str, list[str]], split: str, settings: Evaluate, seed: int) -> list[VariantTest]:
    """Each pair of variants once; Holm's correction of ``p`` is over all pairs of the same split and metric."""
    rows = comparison_rows(_means(values, variants), split, list(combinations(variants, 2)), settings, seed)
    return [VariantTest(**asdict(row), p_seeds=_welch(*(_averages(values, variants[name], row.metric) for name in (row.system, row.against)))) for row in rows]


def _means(values: Values, variants: dict[str, list[str]]) -> Values:
    metrics = next(iter(values.values()))
    return {name: {metric: np.mean([values[system][metric] for system in members], axis=0) for metric in metrics} for name, members in variants.items()}


def _averages(values: Values, members: list[str], metric: str) -> list[float]:
    return [mean(values[system][metric]) for system in members]


def _welch(first: list[float], second: list[float]) -> float:
    """Two-sided p-value of Welch's t-test; nan where a side is a single number.

    >>> round(_welch([0.50, 0.52, 0.51], [0.55, 0.57, 0.53]), 3), _welch([0.5], [0.6, 0.7])
    (0.055, nan)
    """
    from scipy.special import stdtr

    if min(len(first), len(second)) < 2:
        return math.nan
    one, two = (np.var(side, ddof=1) / len(side) for side in (first, second))
    difference = abs(float(np.mean(first) - np.mean(second)))
    if one + two == 0:
        return 1.0 if difference == 0 else 0.0
    freedom = (one + two) ** 2 / (one**2 / (len(first) - 1) + two**2 / (len(second) - 1))
    return float(2 * stdtr(freedom, -difference / math.sqrt(one + two)))


def read_variants(path: Path) -> list[VariantRow]:
    """The averages over seeds; empty when there are none. Raises like :func:`~simlm.evaluation.compare.read_rows`."""
    return read_rows(path, VariantRow) if path.exists() else []


def read_variant_tests(path: Path) -> list[VariantTest]:
    """The tests between variants; empty when there are none. Raises like :func:`~simlm.evaluation.compare.read_rows`."""
    return read_rows(path, VariantTest) if path.exists() else []


def turned(test: VariantTest) -> VariantTest:
    """The same test seen from the other variant."""
    return replace(test, system=test.against, against=test.system, difference=-test.difference, wins=test.losses, losses=test.wins)


def value_text(row: VariantRow | MetricRow) -> str:
    """An average with the spread of its seeds.

    >>> value_text(VariantRow("masked", "test", "RR@10", 0.25, 0.00412, 0.2, 0.3, 3, 10))
    '0.2500 ± 0.0041'
    """
    spread = getattr(row, "spread", math.nan)
    return figure(row.value) + ("" if math.isnan(spread) else f" ± {figure(spread)}")


def variants_text(rows: list[VariantRow], splits: list[str]) -> str:
    """Variants × metrics as plain text, one block per split."""
    blocks = []
    for split in splits:
        here = [row for row in rows if row.split == split]
        metrics, found = list(dict.fromkeys(row.metric for row in here)), {(row.variant, row.metric): row for row in here}
        lines = [[f"{split}, mean ± spread of the seeds", "seeds", *map(spoken_metric, metrics)]]
        for name in dict.fromkeys(row.variant for row in here):
            lines.append([name, str(found[name, metrics[0]].runs), *(value_text(found[name, metric]) for metric in metrics)])
        blocks += [columns(lines)] if here else []
    return "\n\n".join(blocks)
