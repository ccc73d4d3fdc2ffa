"""The table of systems as data: values with intervals, the best of each column, letters for significant differences.

Every system has a letter, in the order of the table. Behind a value stand the letters of the systems that it was tested
against and is significantly better (``>ab``) or worse (``<c``) than, so that a mark is read without colour and names its
counterpart. The tests are those of ``comparisons.tsv``: paired, Holm-corrected over the pairs of a split and metric.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from string import ascii_lowercase

from simlm.evaluation.compare import ComparisonRow, MetricRow

SIGNIFICANT = 0.05
"""Holm-corrected p-values below this are marked."""


@dataclass(frozen=True)
class Cell:
    """One value; ``better`` and ``worse`` are the letters of the systems that it differs from significantly, ``best`` says whether the column has no larger."""

    value: float
    low: float
    high: float
    best: bool = False
    better: str = ""
    worse: str = ""

    @property
    def marks(self) -> str:
        """The letters as text.

        >>> Cell(0.5, 0.4, 0.6, better="ab", worse="d").marks
        '>ab<d'
        """
        return (f">{self.better}" if self.better else "") + (f"<{self.worse}" if self.worse else "")


@dataclass(frozen=True)
class ResultRow:
    """One system on one split: ``letter`` stands for it in the marks of others; ``cells`` by metric, those that were judged."""

    letter: str
    system: str
    cells: dict[str, Cell]


def letters_of(systems: Iterable[str]) -> dict[str, str]:
    """System → its letter; after ``z`` come ``a1``, ``b1`` and so on.

    >>> letters_of(["bm25", "control"])
    {'bm25': 'a', 'control': 'b'}
    >>> letters_of(map(str, range(28)))["27"]
    'b1'
    """
    return {name: ascii_lowercase[i % 26] + (str(i // 26) if i >= 26 else "") for i, name in enumerate(systems)}


def result_rows(rows: list[MetricRow], comparisons: Iterable[ComparisonRow], split: str) -> list[ResultRow]:
    """The table of one split, systems in the order of ``rows``."""
    letters = letters_of(dict.fromkeys(row.system for row in rows))
    here = [row for row in rows if row.split == split]
    best: dict[str, float] = {}
    for row in here:
        best[row.metric] = max(best.get(row.metric, row.value), row.value)
    marks: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for test in comparisons:
        if test.split == split and test.p_holm < SIGNIFICANT and test.against in letters:
            marks.setdefault((test.system, test.metric), ([], []))[test.difference < 0].append(letters[test.against])
    found: dict[str, dict[str, Cell]] = {}
    for row in here:
        better, worse = ("".join(sorted(side)) for side in marks.get((row.system, row.metric), ([], [])))
        found.setdefault(row.system, {})[row.metric] = Cell(row.value, row.ci_low, row.ci_high, row.value >= best[row.metric], better, worse)
    return [ResultRow(letters[system], system, cells) for system, cells in found.items()]


def metrics_of(rows: list[ResultRow]) -> list[str]:
    """All metrics of a table, in order of appearance."""
    return list(dict.fromkeys(metric for row in rows for metric in row.cells))
