"""Train one model of the graph: mlm, bottleneck, biencoder or crossencoder.

    simlm train --config config/smoke.yaml --model retriever1

The model is written to results/<experiment>/models/<model>, a folder that transformers (and, for a bi-encoder,
sentence-transformers) loads as it is. A training that was killed goes on from its last checkpoint when the
command is given again. Several processes share the global batch:

    python -m simlm.launch --processes 2 -- train --config config/msmarco.yaml --model retriever1

In a batch job it stops with exit code 75 and a checkpoint before the job's wall time ends (SIMLM_END_TIME, Unix seconds, or Slurm's own end).
"""

from __future__ import annotations

import argparse

from simlm.commands.options import add_experiment_options, load_context, model_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment_options(parser)
    parser.add_argument("--model", required=True, metavar="NAME", help="trained model of the graph, such as retriever1")
    parser.add_argument("--keep-checkpoint", action="store_true", help="keep the last checkpoint after the export (the workflow does, until all is done)")


def run(arguments: argparse.Namespace) -> None:
    from simlm.config.kinds import KINDS
    from simlm.training.dispatch import train_model

    context = load_context(arguments)
    trained = [kind.model_fields["kind"].annotation.__args__[0] for kind in KINDS if kind.trainer and kind.made_by == "train"]
    model_of(context, arguments.model, *trained)
    train_model(context, arguments.model, arguments.keep_checkpoint)
