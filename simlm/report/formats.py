"""The one table in the forms that people paste: Markdown, LaTeX, CSV. The page and the terminal show the same figures."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from simlm.config.metrics import spoken_metric
from simlm.context import Context
from simlm.evaluation.compare import ComparisonRow, MetricRow, read_comparisons, read_metrics
from simlm.evaluation.numbers import figure, interval
from simlm.evaluation.results import SIGNIFICANT, Cell, ResultRow, metrics_of, result_rows
from simlm.files import write_text
from simlm.records.stages import Stage
from simlm.report.costs import Cost, costs

COLUMNS: dict[str, Callable[[Cost], str]] = {
    "parameters (M)": lambda cost: _number(cost.parameters, 1e6, 2),
    "vector (numbers)": lambda cost: _number(cost.dimension),
    "index (MiB)": lambda cost: _number(cost.index_bytes, 2**20, 1),
    "ms per query": lambda cost: _number(cost.milliseconds, 1, 1),
    "training (min)": lambda cost: _number(cost.training_seconds, 60, 1),
    "energy (Wh, est.)": lambda cost: _number(cost.watt_hours, 1, 1),
}
"""Head → text of a cost."""


def _number(value: float | None, unit: float = 1, decimals: int = 0) -> str:
    if value is None:
        return "–"
    scaled = value / unit
    # Small ones keep two digits that mean something.
    return f"{scaled:.2g}" if decimals and 0 < abs(scaled) < 1 else f"{scaled:,.{decimals}f}"


@dataclass(frozen=True)
class Results:
    """What the forms are made of: the rows of every split, the main one first, and the costs of the systems."""

    experiment: str
    test: str
    confidence: float
    splits: dict[str, list[ResultRow]]
    queries: dict[str, int]
    costs: dict[str, Cost]


def gather(context: Context, rows: list[MetricRow], comparisons: list[ComparisonRow], stages: list[Stage]) -> Results:
    """The table of an experiment, with what its systems cost."""
    evaluate = context.experiment.evaluate
    splits = sorted(evaluate.splits, key=lambda split: split != evaluate.main_split)
    tables = {split: table for split in splits if (table := result_rows(rows, comparisons, split))}
    queries = {row.split: row.n_queries for row in rows}
    return Results(context.experiment.name, evaluate.test, evaluate.confidence, tables, queries, costs(context, stages))


def read_results(context: Context, stages: list[Stage]) -> Results:
    """:func:`gather` from the files."""
    return gather(context, read_metrics(context.paths.metrics_table), read_comparisons(context.paths.comparisons), stages)


def write_results(results: Results, folder: Path) -> list[Path]:
    """Write ``results.md``, ``results.tex`` and ``results.csv``."""
    files = []
    for name, make in FORMATS.items():
        files.append(folder / f"results.{name}")
        write_text(files[-1], make(results))
    return files


def _note(results: Results) -> str:
    return (
        f"{results.confidence * 100:g} % bootstrap intervals over queries. >a: significantly better, <a: significantly worse than system a "
        f"(paired {results.test}, Holm-corrected, p < {SIGNIFICANT:g}), of the systems that each was tested against."
    )


def markdown(results: Results) -> str:
    """A table per split; the first has the costs beside the figures."""
    blocks = []
    for split, rows in results.splits.items():
        metrics, extra = metrics_of(rows), COLUMNS if split == next(iter(results.splits)) else {}
        lines = [f"### {results.experiment}: {split}, {results.queries[split]:,} queries", ""]
        lines += ["| | system | " + " | ".join([*map(spoken_metric, metrics), *extra]) + " |", "|---|---|" + "---:|" * (len(metrics) + len(extra))]
        for row in rows:
            cells = [_markdown_cell(row.cells.get(metric)) for metric in metrics] + [text(results.costs[row.system]) for text in extra.values()]
            lines.append(f"| {row.letter} | {row.system} | " + " | ".join(cells) + " |")
        blocks.append("\n".join(lines))
    return "\n\n".join([*blocks, _note(results)]) + "\n"


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    value = f"**{figure(cell.value)}**" if cell.best else figure(cell.value)
    return f"{value} {interval(cell.low, cell.high)}" + (f" {cell.marks.replace('<', '&lt;').replace('>', '&gt;')}" if cell.marks else "")


def latex(results: Results) -> str:
    """A ``tabular`` per split for booktabs: letters of systems that are significantly worse raised, of better ones lowered."""
    blocks = ["% \\usepackage{booktabs}"]
    for split, rows in results.splits.items():
        metrics, extra = metrics_of(rows), COLUMNS if split == next(iter(results.splits)) else {}
        heads = ["", "system", *map(spoken_metric, metrics), *extra]
        lines = [
            f"% {escaped(results.experiment)}, {escaped(split)}, {results.queries[split]:,} queries. {_note(results).replace('%', chr(92) + '%')}",
            f"\\begin{{tabular}}{{ll{'r' * (len(heads) - 2)}}}",
            "\\toprule",
            " & ".join(map(escaped, heads)) + " \\\\",
            "\\midrule",
        ]
        for row in rows:
            cells = [_latex_cell(row.cells.get(metric)) for metric in metrics]
            cells += [escaped(text(results.costs[row.system])) for text in extra.values()]
            lines.append(" & ".join([row.letter, escaped(row.system), *cells]) + " \\\\")
        blocks.append("\n".join([*lines, "\\bottomrule", "\\end{tabular}"]))
    return "\n\n".join(blocks) + "\n"


def _latex_cell(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    value = f"\\textbf{{{figure(cell.value)}}}" if cell.best else figure(cell.value)
    return value + (f"$^{{{cell.better}}}$" if cell.better else "") + (f"$_{{{cell.worse}}}$" if cell.worse else "")


def escaped(text: str) -> str:
    r"""Text for LaTeX.

    >>> print(escaped("my_model & 5 % – {x}"))
    my\_model \& 5 \% -- \{x\}
    """
    named = {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "–": "--"}
    return re.sub(r"[\\~^–&%$#_{}]", lambda match: named.get(match[0], f"\\{match[0]}"), text)


def table_csv(results: Results) -> str:
    """One line per split and system, all figures as numbers to six decimals; costs in parameters, bytes, milliseconds, seconds and watt-hours."""
    metrics = list(dict.fromkeys(metric for rows in results.splits.values() for metric in metrics_of(rows)))
    names = [spoken_metric(metric) for metric in metrics]
    heads = ["split", "queries", "letter", "system"]
    heads += [f"{name}{what}" for name in names for what in ("", " low", " high", " better than", " worse than")]
    heads += ["parameters", "dimension", "index_bytes", "milliseconds", "training_seconds", "watt_hours"]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(heads)
    for split, rows in results.splits.items():
        for row in rows:
            cells: list[object] = [split, results.queries[split], row.letter, row.system]
            for metric in metrics:
                cell = row.cells.get(metric)
                cells += ["", "", "", "", ""] if cell is None else [f"{cell.value:.6f}", f"{cell.low:.6f}", f"{cell.high:.6f}", cell.better, cell.worse]
            cost = results.costs[row.system]
            known = (cost.parameters, cost.dimension, cost.index_bytes, cost.milliseconds, cost.training_seconds, cost.watt_hours)
            writer.writerow([*cells, *("" if value is None else f"{value:.6g}" if isinstance(value, float) else value for value in known)])
    return stream.getvalue()


FORMATS: dict[str, Callable[[Results], str]] = {"md": markdown, "tex": latex, "csv": table_csv}
"""Ending of the file → how it is made."""
