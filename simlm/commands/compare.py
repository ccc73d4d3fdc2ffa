"""Print the table of all experiments below the results folder, beside published numbers where they apply.

The table is read from the experiments' files, not from MLflow, and is also written to comparison.tsv and
comparison.md in the results folder.

    simlm compare
    simlm compare --results results --split dev test
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="FOLDER", help="folder that holds the experiments (default: results)")
    parser.add_argument("--split", nargs="+", metavar="SPLIT", help="splits to show (default: the main split of each experiment)")


def run(arguments: argparse.Namespace) -> None:
    from simlm.progress import say
    from simlm.report.overview import lines_of, read_experiments, write_overview

    contexts, troubles = read_experiments(arguments.results)
    for trouble in troubles:
        say(f"Warning: {trouble}")
    lines = lines_of(contexts, arguments.split)
    if not lines:
        from simlm.errors import UserError, nearest

        known = dict.fromkeys(split for context in contexts for split in context.experiment.evaluate.splits)
        raise UserError(f"no experiment was judged on the split '{arguments.split[0]}'{nearest(arguments.split[0], known)} (there are {', '.join(known)})")
    show(lines)
    table, page = write_overview(lines, arguments.results)
    say(f"Written to {table} and {page}.")


def show(lines) -> None:
    """Print a table whose best own value of each split and metric is bold."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from simlm.report.overview import metrics_of

    console, metrics = Console(), metrics_of(lines)
    if not console.is_terminal:
        # A log file has no width that a table must be squeezed into.
        console = Console(width=200)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("experiment", "system", "split"):
        table.add_column(name, no_wrap=True)
    for metric in metrics:
        table.add_column(metric, justify="right", no_wrap=True)
    table.add_column("queries", justify="right")
    own = [line for line in lines if line.experiment != "published"]
    best = {(line.split, metric): max(other.values.get(metric, -1.0) for other in own if other.split == line.split) for line in own for metric in metrics}
    before = None
    for line in lines:
        if before not in (None, (line.experiment, line.split)):
            table.add_section()
        before = (line.experiment, line.split)
        cells = [_cell(line.values.get(metric), line.experiment != "published" and best[line.split, metric]) for metric in metrics]
        table.add_row(line.experiment, line.system, line.split, *cells, "" if line.queries is None else f"{line.queries:,}")
    console.print(table)


def _cell(value: float | None, best: float | bool) -> str:
    if value is None:
        return "–"
    return f"[bold]{value:.4f}[/bold]" if best is not False and value >= best else f"{value:.4f}"
