"""Take a published model into the experiment, so that it is searched and judged like a trained one.

    simlm import-model --config config/released.yaml --model distilled

`init` of the model's block is a Hugging Face id or a local folder; the weights are kept as they are.
"""

from __future__ import annotations

import importlib
from typing import Annotated

from simlm.context import Context


def import_model(context: Context, name: Annotated[str, "given model of the graph, such as distilled"]) -> None:
    """Write the folder of a published model as training would; the kind of the model names the function that does."""
    from simlm import hardware
    from simlm.progress import say

    block = context.experiment.models[name]
    hardware.prepare(block.threads)
    module, _, function = str(block.trainer).partition(":")
    getattr(importlib.import_module(module), function)(context, name)
    say(f"{context.paths.model(name)}: {block.noun} {block.initial()}")
