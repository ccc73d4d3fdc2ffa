"""Train one model of the graph.

    simlm train --config config/smoke.yaml --model retriever1

The model is written to results/<experiment>/models/<model>, a folder that transformers (and, for a bi-encoder,
sentence-transformers) loads as it is. A training that was killed goes on from its last checkpoint when the
command is given again. Several processes share the global batch:

    python -m simlm.launch --processes 2 -- train --config config/msmarco.yaml --model retriever1

In a batch job it stops with exit code 75 and a checkpoint before the job's wall time ends (SIMLM_END_TIME, Unix seconds, or Slurm's own end).
"""

from __future__ import annotations

import importlib
from typing import Annotated

from simlm.context import Context


def train(
    context: Context,
    name: Annotated[str, "trained model of the graph, such as retriever1"],
    keep_checkpoint: Annotated[bool, "keep the last checkpoint after the export (the workflow does, until all is done)"] = False,
) -> None:
    """Train and export a model; its checkpoints are deleted once the export and the stage's record are complete.

    The kind of the model names the function that trains it, such as ``simlm.training.bottleneck:train``. ``keep_checkpoint`` is
    for a caller that may not learn that the stage has ended (a killed workflow) and asks again.
    """
    from simlm import processes
    from simlm.metering import metered
    from simlm.planning.utilisation import known
    from simlm.training import checkpoints

    module, _, function = str(context.experiment.models[name].trainer).partition(":")
    with metered(known(context, name, "training")):
        getattr(importlib.import_module(module), function)(context, name)
    if processes.is_main():
        (checkpoints.keep_last if keep_checkpoint else checkpoints.release)(context.paths.training(name))
