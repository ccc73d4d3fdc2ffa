"""The table of systems as plain text, for terminals and log files."""

from __future__ import annotations

from simlm.config.experiment import EvaluatedSplit
from simlm.evaluation.compare import ComparisonRow, MetricRow

SIGNIFICANT = 0.05
"""Holm-corrected p-values below this are marked."""


def relevance_text(judged: EvaluatedSplit) -> str:
    """From which grade on a passage counts in MRR, recall and MAP; empty for grade 1.

    >>> relevance_text(EvaluatedSplit(relevance=2)), relevance_text(EvaluatedSplit(relevance=2, mrr_relevance=1)), relevance_text(EvaluatedSplit())
    ('relevant from grade 2 on', 'relevant from grade 2 on, for MRR from grade 1 on', '')
    """
    mrr = judged.relevance if judged.mrr_relevance is None else judged.mrr_relevance
    if judged.relevance == mrr == 1:
        return ""
    return f"relevant from grade {judged.relevance} on" + (f", for MRR from grade {mrr} on" if mrr != judged.relevance else "")


def metrics_text(rows: list[MetricRow], splits: list[str], judged: dict[str, EvaluatedSplit] | None = None) -> str:
    """Systems × metrics, one block per split, with the relevance level where ``judged`` gives another than 1.

    >>> print(metrics_text([MetricRow("bm25", "test", "RR@10", 0.25, 0.2, 0.3, 10)], ["test"]))
    test (10 queries)   RR@10
    bm25               0.2500
    """
    blocks = []
    for split in splits:
        here = [row for row in rows if row.split == split]
        if not here:
            continue
        metrics = list(dict.fromkeys(row.metric for row in here))
        value = {(row.system, row.metric): f"{row.value:.4f}" for row in here}
        level = relevance_text(judged[split]) if judged and split in judged else ""
        lines = [[f"{split} ({here[0].n_queries:,} queries{', ' if level else ''}{level})", *metrics]]
        lines += [[system, *(value.get((system, metric), "-") for metric in metrics)] for system in dict.fromkeys(row.system for row in here)]
        blocks.append(columns(lines))
    return "\n\n".join(blocks)


def comparisons_text(rows: list[ComparisonRow], averages: list[MetricRow], split: str, metric: str) -> str:
    """Differences of one split and metric with corrected p-values; ``*`` marks those below 0.05."""
    interval = {row.system: f"[{row.ci_low:.4f}, {row.ci_high:.4f}]" for row in averages if (row.split, row.metric) == (split, metric)}
    lines = [[f"{metric} on {split}", "against", "difference", "p (Holm)", "", "wins", "losses", "ties", "interval"]]
    for row in rows:
        if (row.split, row.metric) == (split, metric):
            mark = "*" if row.p_holm < SIGNIFICANT else ""
            counts = [f"{count:,}" for count in (row.wins, row.losses, row.ties)]
            lines.append([row.system, row.against, f"{row.difference:+.4f}", f"{row.p_holm:.2g}", mark, *counts, interval.get(row.system, "")])
    return columns(lines, left=2)


def columns(lines: list[list[str]], left: int = 1) -> str:
    """Align cells: the first ``left`` columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join(cell.ljust(width) if i < left else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines
    )
