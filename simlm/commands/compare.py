"""Print the table of all experiments below the results folder, corpus by corpus, or two systems against each other.

The table is read from the experiments' files, not from MLflow, with published numbers where they apply, and is also
written to comparison.tsv and comparison.md in the results folder. Two systems, of one experiment or of two, are
compared by paired tests on the same queries and by their settings.

    simlm compare
    simlm compare --results results --split dev test
    simlm compare --against pydocs/distilled mine/distilled
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``simlm compare``."""
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="FOLDER", help="folder that holds the experiments (default: results)")
    parser.add_argument("--split", nargs="+", metavar="SPLIT", help="splits to show (default: the main split of each experiment; of two systems, all)")
    parser.add_argument(
        "--against",
        nargs=2,
        metavar="EXPERIMENT/SYSTEM",
        help="test one system against another on the same queries; an experiment alone stands for its headline system",
    )


def run(arguments: argparse.Namespace) -> None:
    """Print the table, or the two systems."""
    from simlm.progress import say
    from simlm.report.overview import lines_of, lines_text, read_experiments, write_overview

    contexts, troubles = read_experiments(arguments.results)
    for trouble in troubles:
        say(f"Warning: {trouble}")
    if arguments.against:
        from simlm.report.against import against, side_of, text

        print(text(against(*(side_of(name, contexts) for name in arguments.against), arguments.split)))
        return
    lines = lines_of(contexts, arguments.split)
    # A log file has no width that a table must be squeezed into.
    print(lines_text(lines, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
    table, page = write_overview(lines, arguments.results)
    say(f"Written to {table} and {page}.")
