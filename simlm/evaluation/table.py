"""The table of systems as plain text, for terminals and log files."""

from __future__ import annotations

from collections.abc import Iterable

from simlm.config.experiment import EvaluatedSplit
from simlm.config.metrics import spoken_metric
from simlm.evaluation.compare import ComparisonRow, MetricRow
from simlm.evaluation.numbers import figure, interval, p_text, signed
from simlm.evaluation.results import SIGNIFICANT, Cell, metrics_of, result_rows


def relevance_text(judged: EvaluatedSplit) -> str:
    """From which grade on a passage counts in MRR, recall and MAP; empty for grade 1.

    >>> relevance_text(EvaluatedSplit(relevance=2)), relevance_text(EvaluatedSplit(relevance=2, mrr_relevance=1)), relevance_text(EvaluatedSplit())
    ('relevant from grade 2 on', 'relevant from grade 2 on, for MRR from grade 1 on', '')
    """
    mrr = judged.relevance if judged.mrr_relevance is None else judged.mrr_relevance
    if judged.relevance == mrr == 1:
        return ""
    return f"relevant from grade {judged.relevance} on" + (f", for MRR from grade {mrr} on" if mrr != judged.relevance else "")


def metrics_text(
    rows: list[MetricRow],
    splits: list[str],
    comparisons: Iterable[ComparisonRow] = (),
    *,
    judged: dict[str, EvaluatedSplit] | None = None,
    main: str | None = None,
    width: int | None = None,
) -> str:
    """Systems × metrics, one block per split, with the relevance level where ``judged`` gives another than 1.

    Parameters
    ----------
    comparisons
        Tests whose significant differences are marked by letters (:mod:`simlm.evaluation.results`).
    main
        The metric that has its interval beside it; default: the first.
    width
        Most letters of a line: what does not fit follows in a block of its own. None: no end.

    >>> test = ComparisonRow("dense", "bm25", "test", "RR@10", 0.25, 0.001, 0.001, "t-test", 10, 5, 1, 4)
    >>> print(metrics_text([MetricRow("bm25", "test", "RR@10", 0.25, 0.2, 0.3, 10), MetricRow("dense", "test", "RR@10", 0.5, 0.4, 0.6, 10)], ["test"], [test]))
    test (10 queries)           MRR@10
    a bm25             0.2500 [0.200, 0.300]
    b dense            0.5000 [0.400, 0.600] >a
    """
    blocks, comparisons = [], list(comparisons)
    for split in splits:
        table = result_rows(rows, comparisons, split)
        if not table:
            continue
        metrics = metrics_of(table)
        first = main if main in metrics else metrics[0]
        level = relevance_text(judged[split]) if judged and split in judged else ""
        queries = next(row.n_queries for row in rows if row.split == split)
        names = [f"{split} ({queries:,} queries{', ' if level else ''}{level})", *(f"{row.letter} {row.system}" for row in table)]
        drawn = [_column(metric, [row.cells.get(metric) for row in table], metric == first) for metric in metrics]
        blocks += [columns([list(line) for line in zip(names, *some)], left=len(some) + 1) for some in fitting(names, drawn, width)]
    return "\n\n".join(blocks)


def _column(metric: str, cells: list[Cell | None], with_interval: bool) -> list[str]:
    """Head and cells of one metric, as wide as each other, digits below digits."""
    plain = ["-" if cell is None else figure(cell.value) + (f" {interval(cell.low, cell.high)}" if with_interval else "") for cell in cells]
    wide = max(map(len, plain))
    lines = [f"{text:<{wide}} {cell.marks if cell else ''}".rstrip() for text, cell in zip(plain, cells)]
    return [spoken_metric(metric).center(wide).rstrip(), *lines]


def fitting(names: list[str], drawn: list[list[str]], width: int | None) -> list[list[list[str]]]:
    """Columns in groups that fit beside the names."""
    groups: list[list[list[str]]] = []
    left = 0
    for column in drawn:
        need = 2 + max(map(len, column))
        if not groups or (width is not None and left + need > width):
            groups.append([])
            left = max(map(len, names))
        groups[-1].append(column)
        left += need
    return groups


def legend(comparisons: list[ComparisonRow]) -> str:
    """What the letters of :func:`metrics_text` mean; empty without tests."""
    if not comparisons:
        return ""
    return f">a better, <a worse than system a (p < {SIGNIFICANT:g}, paired {comparisons[0].test}, Holm-corrected), of the systems that it was tested against"


def comparisons_text(rows: list[ComparisonRow], split: str, metric: str) -> str:
    """Differences of one split and metric with corrected p-values; ``*`` marks those below 0.05."""
    lines = [[f"{spoken_metric(metric)} on {split}", "against", "difference", "p (Holm)", "", "wins", "losses", "ties"]]
    for row in rows:
        if (row.split, row.metric) == (split, metric):
            mark = "*" if row.p_holm < SIGNIFICANT else ""
            lines.append(
                [row.system, row.against, signed(row.difference), p_text(row.p_holm), mark, *(f"{count:,}" for count in (row.wins, row.losses, row.ties))]
            )
    return columns(lines, left=2)


def columns(lines: list[list[str]], left: int = 1) -> str:
    """Align cells: the first ``left`` columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join(cell.ljust(width) if i < left else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines
    )
