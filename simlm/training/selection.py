"""Which weights of a training are exported: the last ones, or those that did best on the held-out training queries, the start among them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch

from simlm import processes
from simlm.progress import say

if TYPE_CHECKING:
    from torch import nn

    from simlm.training.job import TrainingJob

MEASURE = "held_out/RR"
"""What the looks at held-out queries are compared by: mean reciprocal rank of their positives."""

WEIGHTS = "best.safetensors"
"""The best weights so far, beside the checkpoints and in each of them."""


class Selection:
    """The looks at the held-out queries, and the weights of the best one.

    Parameters
    ----------
    job
        The training; its settings say what to ``keep``, and with how much ``patience``.
    lines
        The curve of the training before a resume.
    resumed
        The checkpoint that the training goes on from, or None.

    Attributes
    ----------
    best
        (value, step) of the best look, the earliest of equal ones; None before the first.
    idle
        Looks since then.
    """

    def __init__(self, job: TrainingJob, lines: Iterable[dict[str, Any]] = (), resumed: Path | None = None) -> None:
        self.job, self.file = job, job.context.paths.training(job.name) / WEIGHTS
        self.best: tuple[float, int] | None = None
        self.idle = 0
        for line in lines:
            if MEASURE in line:
                self._note(line["step"], line[MEASURE])
        # The main process alone has the curve.
        best, self.idle = processes.from_main((self.best, self.idle))
        self.best = best and tuple(best)
        if resumed is not None and (resumed / WEIGHTS).exists() and processes.is_main():
            shutil.copyfile(resumed / WEIGHTS, self.file)
        processes.wait()

    @property
    def exhausted(self) -> bool:
        """Whether so many looks brought nothing better that the training ends."""
        patience = getattr(self.job.settings, "patience", None)
        return patience is not None and self.idle >= patience

    def look(self, step: int, values: dict[str, float], module: nn.Module) -> bool:
        """Note what a look found after ``step`` steps, and keep the weights if they are the best; returns whether the training ends here."""
        # The processes compute nearly the same; one of them must decide.
        if self._note(step, processes.from_main(values[MEASURE])) and processes.is_main():
            unwrapped = getattr(module, "module", module)
            temporary = self.file.with_name(f".{WEIGHTS}.tmp")
            safetensors.torch.save_model(unwrapped, str(temporary))
            os.replace(temporary, self.file)
        over = self.exhausted
        if over:
            say(f"{self.job.name} ends at step {step}: {self.idle} looks at the held-out queries brought nothing better than step {self.best[1]}.")
        return over

    def _note(self, step: int, value: float) -> bool:
        better = self.best is None or value > self.best[0]
        self.best, self.idle = ((value, step), 0) if better else (self.best, self.idle + 1)
        return better

    def into(self, checkpoint: Path) -> None:
        """Put the best weights so far into a checkpoint, which is complete with them alone."""
        if self.file.exists():
            shutil.copyfile(self.file, checkpoint / WEIGHTS)

    def restore(self, module: nn.Module, steps: int) -> None:
        """Give ``module`` the best weights, and say which they are; ``steps`` were trained."""
        record, (value, step) = self.job.record, self.best
        record.metrics |= {"kept_step": step, "kept/held_out/RR": value}
        if step == steps:
            return
        processes.wait()
        safetensors.torch.load_model(getattr(module, "module", module), str(self.file))
        say(f"{self.job.name}: exported is step {step} of {steps}, the best on the held-out queries (mean reciprocal rank {value:.4f}).")
        if step == 0:
            record.caution(
                f"{self.job.name}: no step of the training is better on the held-out queries than the start (mean reciprocal rank {value:.4f}), which "
                f"is exported as it was; lower models.{self.job.name}.learning_rate ({self.job.settings.learning_rate:g}), or "
                "set keep: last to export what was trained all the same"
            )
