"""From a model's name to the function that trains its kind."""

from __future__ import annotations

import importlib
import os

from simlm.commands.options import Context
from simlm.training import checkpoints


def train_model(context: Context, name: str) -> None:
    """Train and export a model; its checkpoints are deleted once the export and the stage's record are complete."""
    module, _, function = context.experiment.models[name].trainer.partition(":")
    getattr(importlib.import_module(module), function)(context, name)
    if os.environ.get("RANK", "0") == "0":
        checkpoints.release(context.paths.training(name))
