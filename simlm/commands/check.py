"""Check a configuration and print its graph: what is trained in which order, and who reads what.

simlm check --config config/config.yaml
simlm check --config config/config.yaml my-changes.yaml --mermaid
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from simlm.commands.options import add_experiment_options, files_of, load_context

if TYPE_CHECKING:
    from simlm.config import Experiment

LOOKED_AT = 2_000
"""Passages that are looked at for a caution, so that the check stays quick."""


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
    cautions = [*before_running(experiment, files_of(arguments)), *_made_queries(experiment)]
    print(f"'{experiment.name}' is valid; results go to {context.paths.root}.\n\nModels, in the order of training:")
    print(outline(experiment))
    print(f"\nEvaluated on {', '.join(experiment.evaluate.splits)}: {', '.join(experiment.evaluate.systems)}")
    for sentence in cautions:
        print(f"caution: {sentence}")
    return 0


def _made_queries(experiment: Experiment) -> Iterator[str]:
    """A caution where the first passages of files at hand have nothing that could be their query."""
    made, block = experiment.corpus.made_queries, experiment.corpus
    local = block.source == "beir" or (block.source == "hub" and Path(block.id).expanduser().is_dir())
    if made is None or made.generator or not local:
        return
    from simlm.corpus.prepare import open_source
    from simlm.lexical.made_queries import fit_share

    first = [(title, text) for _, title, text in islice(open_source(block).passages, LOOKED_AT)]
    if not fit_share(first, made):
        other = {"title": "first_sentence", "first_sentence": "title"}[made.query]
        advice = f"take query: {other}" if fit_share(first, made.model_copy(update={"query": other})) else "lower words, or take another source of queries"
        yield (
            f"corpus.made_queries: of the first {len(first):,} passages none has a {made.query.replace('_', ' ')} of {made.words[0]} to {made.words[1]} words "
            f"beside its text, so that few or no queries will be made; {advice}"
        )
