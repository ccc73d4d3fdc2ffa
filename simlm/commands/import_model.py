"""Take a published model into the experiment, so that it is searched and judged like a trained one.

    simlm import-model --config config/released.yaml --model distilled

For models of kind given_biencoder and given_crossencoder; `init` is a Hugging Face id or a local folder.
"""

from __future__ import annotations

import argparse

from simlm.commands.options import add_experiment_options, load_context, model_of
from simlm.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment_options(parser)
    parser.add_argument("--model", required=True, metavar="NAME", help="given model of the graph, such as distilled")


def run(arguments: argparse.Namespace) -> None:
    context = load_context(arguments)
    block = model_of(context, arguments.model)
    if block.made_by != "import_model":
        raise UserError(f"'{arguments.model}' is of kind {block.kind}, which is trained; run simlm train --model {arguments.model}")
    from simlm import hardware
    from simlm.models.given import take_over
    from simlm.progress import say

    hardware.prepare(block.threads)
    take_over(context, arguments.model)
    say(f"{context.paths.model(arguments.model)}: {block.role} {block.init}")
