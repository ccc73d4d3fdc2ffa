"""Score the passages that a student's training will visit with its teacher.

    simlm score-teacher --config config/smoke.yaml --model distilled

Only the positives and hard negatives that the configured number of epochs really visits are scored. The raw
logits go to results/<experiment>/teacher_scores/<student>.parquet, looked up by (query, passage).
"""

from __future__ import annotations

import argparse

from simlm.commands.options import add_experiment_options, load_context, model_of
from simlm.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment_options(parser)
    parser.add_argument("--model", required=True, metavar="NAME", help="the student: a biencoder with a teacher, such as distilled")


def run(arguments: argparse.Namespace) -> None:
    context = load_context(arguments)
    if model_of(context, arguments.model, "biencoder").teacher is None:
        raise UserError(f"'{arguments.model}' has no teacher; name a model whose block gives one")
    from simlm.training.teacher import score_teacher

    score_teacher(context, arguments.model)
