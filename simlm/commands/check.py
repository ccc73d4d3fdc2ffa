"""Check a configuration and print its graph: what is trained in which order, and who reads what.

simlm check --config config/config.yaml
simlm check --config config/config.yaml my-changes.yaml --mermaid
"""

from __future__ import annotations

import argparse

from simlm.commands.options import add_experiment_options, files_of, load_context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``simlm check``."""
    add_experiment_options(parser)
    parser.add_argument("--mermaid", action="store_true", help="print the graph as a mermaid diagram instead")


def run(arguments: argparse.Namespace) -> int:
    """Load, check, print."""
    from simlm.config.load import before_running
    from simlm.config.picture import mermaid, outline

    context = load_context(arguments)
    experiment = context.experiment
    if arguments.mermaid:
        print(mermaid(experiment))
        return 0
    cautions = before_running(experiment, files_of(arguments))
    print(f"'{experiment.name}' is valid; results go to {context.paths.root}.\n\nModels, in the order of training:")
    print(outline(experiment))
    print(f"\nEvaluated on {', '.join(experiment.evaluate.splits)}: {', '.join(experiment.evaluate.systems)}")
    for sentence in cautions:
        print(f"caution: {sentence}")
    return 0
