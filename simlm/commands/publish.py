"""Upload a model folder to the Hugging Face Hub. Without --yes nothing is sent: files, sizes, card and target are shown.

    simlm publish --experiment pydocs --model distilled --to owner/pydocs-distilled
    simlm publish --model results/pydocs/models/distilled --to owner/pydocs-distilled --private --yes

The token is that of HF_TOKEN or `hf auth login`; no configuration and no option holds one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from simlm.commands.options import add_experiment_options, load_context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``simlm publish``."""
    parser.add_argument("--model", required=True, metavar="MODEL", help="model of the experiment that is named; without one a model folder")
    add_experiment_options(parser)
    parser.add_argument("--to", required=True, metavar="OWNER/NAME", help="repository of the Hub; made if it is not there")
    parser.add_argument("--private", action="store_true", help="make the repository a private one")
    sending = parser.add_mutually_exclusive_group()
    sending.add_argument("--dry-run", action="store_true", help="show what would be uploaded (the default)")
    sending.add_argument("--yes", action="store_true", help="upload it")


def run(arguments: argparse.Namespace) -> None:
    """Show, and upload if asked to."""
    from simlm.errors import UserError, nearest
    from simlm.export.hub import prepare, upload
    from simlm.progress import say

    if arguments.experiment or arguments.config:
        context = load_context(arguments)
        models = [name for name, model in context.experiment.models.items() if model.made_by]
        if arguments.model not in models:
            raise UserError(f"'{context.experiment.name}' has no model '{arguments.model}'{nearest(arguments.model, models)} (there are {', '.join(models)})")
        folder = context.paths.model(arguments.model)
        context.require(folder / "simlm.json")
    else:
        folder = Path(arguments.model).expanduser()
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder; name a model folder, or an experiment (--experiment) and its model")
    what = prepare(folder, arguments.to)
    print(what)
    if not arguments.yes:
        say("Nothing was sent; --yes uploads it.")
        return
    say(f"Uploaded: {upload(what, arguments.private)}")
