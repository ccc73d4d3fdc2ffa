"""Tables over all evaluated systems: averages with confidence intervals, and paired tests between systems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simlm.errors import UserError
from simlm.evaluation.bootstrap import mean_intervals
from simlm.evaluation.files import read_per_query
from simlm.evaluation.metrics import mean
from simlm.evaluation.significance import holm, paired_randomisation, paired_t_test
from simlm.files import sha256_text, write_text

if TYPE_CHECKING:
    from simlm.config.experiment import Evaluate
    from simlm.paths import Paths

Values = dict[str, dict[str, np.ndarray]]
"""System → metric → values aligned by query."""


@dataclass(frozen=True)
class MetricRow:
    """One line of ``metrics.tsv``."""

    system: str
    split: str
    metric: str
    value: float
    ci_low: float
    ci_high: float
    n_queries: int


@dataclass(frozen=True)
class ComparisonRow:
    """One line of ``comparisons.tsv``: ``difference`` is the system's mean minus that of ``against``; wins, losses and ties count queries."""

    system: str
    against: str
    split: str
    metric: str
    difference: float
    p: float
    p_holm: float
    test: str
    n: int
    wins: int
    losses: int
    ties: int


def read_values(paths: Paths, systems: list[str], split: str, metrics: list[str]) -> Values:
    """Values per query of all systems on one split, checked to be over the same queries and to have the same metrics."""
    values: Values = {}
    queries: list[str] = []
    for system in systems:
        file = paths.per_query(system, split)
        found, columns = read_per_query(file)
        if not found:
            raise UserError(f"{file} holds no queries; run simlm evaluate again")
        if values and found != queries:
            raise UserError(f"{file} is about other queries than {paths.per_query(systems[0], split)}; run simlm evaluate again for all systems")
        missing = [metric for metric in metrics if metric not in columns]
        if missing:
            raise UserError(f"{file} has no values of {', '.join(missing)}; run simlm evaluate again")
        queries, values[system] = found, {metric: columns[metric] for metric in metrics}
    return values


def average_rows(values: Values, split: str, settings: Evaluate, seed: int) -> list[MetricRow]:
    """Averages of one split with bootstrap intervals; all systems share the same resampled queries."""
    keys = [(system, metric) for system, metrics in values.items() for metric in metrics]
    table = np.stack([values[system][metric] for system, metric in keys], axis=1)
    low, high = mean_intervals(table, _seed(seed, "bootstrap", split), settings.resamples, settings.confidence)
    return [MetricRow(system, split, metric, mean(table[:, i]), float(low[i]), float(high[i]), len(table)) for i, (system, metric) in enumerate(keys)]


def comparison_rows(values: Values, split: str, pairs: list[tuple[str, str]], settings: Evaluate, seed: int) -> list[ComparisonRow]:
    """Paired tests of one split; ``pairs`` are (system, against). Holm's correction is over all pairs of the same split and metric."""
    rows = []
    for metric in settings.metrics:
        p_values = [p_value(values, pair, split, metric, settings, seed) for pair in pairs]
        for (system, against), p, corrected in zip(pairs, p_values, holm(p_values)):
            difference = values[system][metric] - values[against][metric]
            wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
            rows.append(
                ComparisonRow(
                    system,
                    against,
                    split,
                    metric,
                    mean(difference),
                    p,
                    corrected,
                    settings.test,
                    len(difference),
                    wins,
                    losses,
                    len(difference) - wins - losses,
                )
            )
    return rows


def difference_intervals(values: Values, split: str, metric: str, pairs: list[tuple[str, str]], settings: Evaluate, seed: int) -> list[tuple[float, float]]:
    """Bootstrap intervals of the differences of pairs (system, against), over the resampled queries of :func:`average_rows`."""
    table = np.stack([values[system][metric] - values[against][metric] for system, against in pairs], axis=1)
    low, high = mean_intervals(table, _seed(seed, "bootstrap", split), settings.resamples, settings.confidence)
    return list(zip(low.tolist(), high.tolist()))


def p_value(values: Values, pair: tuple[str, str], split: str, metric: str, settings: Evaluate, seed: int) -> float:
    first, second = (values[system][metric] for system in pair)
    if settings.test == "t-test":
        return paired_t_test(first, second)
    return paired_randomisation(first, second, _seed(seed, *pair, split, metric), settings.resamples)


def _seed(seed: int, *names: str) -> list[int]:
    return [seed, int(sha256_text("\t".join(names))[:16], 16)]


def write_rows(path: Path, rows: Sequence[Any], kind: type) -> None:
    """Write rows of a dataclass as TSV: means to six decimals, p-values to four significant digits."""
    names = [field.name for field in fields(kind)]
    lines = ["\t".join(names)]
    lines += ["\t".join(_cell(name, value) for name, value in zip(names, astuple(row))) for row in rows]
    write_text(path, "\n".join(lines) + "\n")


def _cell(name: str, value: str | float) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if name in ("p", "p_holm", "p_seeds") else f"{value:.6f}".replace("-0.000000", "0.000000")
    return str(value)


def read_rows(path: Path, kind: type) -> list:
    """Read what :func:`write_rows` wrote.

    Raises
    ------
    UserError
        If the file is missing or has other columns.
    """
    names = [field.name for field in fields(kind)]
    casts = {"str": str, "float": float, "int": int}
    try:
        header, *lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
        if header.split("\t") != names:
            raise ValueError
        return [kind(*(casts[field.type](cell) for field, cell in zip(fields(kind), line.split("\t"), strict=True))) for line in lines]
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run simlm compare-systems first") from None
    except ValueError:
        raise UserError(f"{path} is truncated or foreign; delete it and run simlm compare-systems again") from None


def read_metrics(path: Path) -> list[MetricRow]:
    """The table of all systems, splits and metrics; empty when it does not exist yet. Raises like :func:`read_rows`."""
    return read_rows(path, MetricRow) if path.exists() else []


def read_comparisons(path: Path) -> list[ComparisonRow]:
    """The paired tests; empty when there are none yet. Raises like :func:`read_rows`."""
    return read_rows(path, ComparisonRow) if path.exists() else []
