"""From a model's name to the function that trains its kind."""

from __future__ import annotations

import importlib

from simlm import processes
from simlm.context import Context
from simlm.training import checkpoints


def train_model(context: Context, name: str, keep_checkpoint: bool = False) -> None:
    """Train and export a model; its checkpoints are deleted once the export and the stage's record are complete.

    Parameters
    ----------
    keep_checkpoint
        Keep the last one, for a caller that may not learn that the stage has ended (a killed workflow) and asks again.
    """
    module, _, function = context.experiment.models[name].trainer.partition(":")
    getattr(importlib.import_module(module), function)(context, name)
    if processes.is_main():
        (checkpoints.keep_last if keep_checkpoint else checkpoints.release)(context.paths.training(name))
