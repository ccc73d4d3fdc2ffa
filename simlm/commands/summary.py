"""Print the table of an experiment's systems and where its report is.

simlm summary                       the default, config/config.yaml
simlm summary --experiment smoke
simlm summary --experiment smoke --format tex    the same figures, to paste
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from pathlib import Path

from simlm.commands.options import add_experiment_options, files_of, load_context, typed
from simlm.context import Context
from simlm.corpus.store import CorpusStore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``simlm summary``."""
    add_experiment_options(parser)
    parser.add_argument("--next", action="store_true", help="end with three commands that use what was trained")
    parser.add_argument(
        "--format",
        choices=("text", "md", "tex", "csv"),
        default="text",
        help="text for the terminal (default), or the table alone as Markdown, LaTeX or CSV, with what the systems cost",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the cautions of the stages, then ``metrics.tsv`` with the main split first."""
    from simlm.errors import UserError
    from simlm.hardware import machine_cores

    context = load_context(arguments)
    paths, evaluate = context.paths, context.experiment.evaluate
    if not paths.metrics_table.exists():
        command = f"{typed('snakemake')} --cores {machine_cores()} --configfile {shlex.join(map(str, files_of(arguments)))} -- all"
        raise UserError(f"{paths.metrics_table} does not exist: '{context.experiment.name}' has not run to its end; `{command}` goes on with it")
    context.require_belonging()
    from simlm.evaluation.compare import MetricRow, read_comparisons, read_rows
    from simlm.evaluation.table import legend, metrics_text
    from simlm.evaluation.variants import read_variants, variants_text
    from simlm.records.stages import cautions, elsewhere, read_stages

    stages = read_stages(context.experiment, paths)
    if arguments.format != "text":
        from simlm.report.formats import FORMATS, read_results

        print(FORMATS[arguments.format](read_results(context, stages)), end="")
        return 0
    splits = sorted(evaluate.splits, key=lambda split: split != evaluate.main_split)
    rows, tests = read_rows(paths.metrics_table, MetricRow), read_comparisons(paths.comparisons)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for sentence in cautions(stages):
        print(f"Caution: {sentence}.\n")
    print(metrics_text(rows, splits, tests, judged=evaluate.splits, main=evaluate.main_metric, width=width))
    if tests:
        print(f"\n{legend(tests)}")
    if context.experiment.variants:
        print("\n" + variants_text(read_variants(paths.variants), splits))
    for stage, differing in elsewhere(stages).items():
        print(f"\n{stage} ran elsewhere than the newest stage: {differing}.")
    if paths.reproduction.exists():
        from simlm.evaluation import gate

        lines = read_rows(paths.reproduction, gate.Verdict)
        print(f"\nAgainst published figures: {gate.summary(lines)}\n{gate.text_table(lines)}" if lines else "")
    print(f"\nTable:  {paths.metrics_table}")
    if paths.report.exists():
        print(f"Report: {paths.report}  (open it in a browser)")
    if arguments.next:
        print("\nNext:\n" + "\n".join(f"  {command}" for command in next_commands(context)))
    return 0


def next_commands(context: Context) -> list[str]:
    """A search, the page that compares, and all experiments side by side, as they can be typed where this command was."""
    simlm, name, results = typed("simlm"), context.experiment.name, context.paths.root.parent
    where = "" if results == Path("results") else f" --results {shlex.quote(str(results))}"
    query = next(iter(CorpusStore(context.paths.corpus).queries(context.experiment.evaluate.main_split).values()))
    return [
        f"{simlm} search --experiment {name}{where} {shlex.quote(query)}",
        f"{simlm} serve --experiment {name}{where}      # the search page: two systems side by side",
        f"{simlm} compare{where}      # all experiments in one table",
    ]
