"""What a training says while it runs: its curve in the history, readable lines, evaluation, a stop at a loss that is not finite."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import TrainerCallback

from simlm import metering, processes
from simlm.errors import UserError
from simlm.progress import say, span
from simlm.training import checkpoints
from simlm.training.averages import Averages
from simlm.training.history import History

if TYPE_CHECKING:
    from simlm.training.job import TrainingJob
    from simlm.training.selection import Selection


class Reporter(TrainerCallback):
    """Writes the history and completes the checkpoints; one per process, only the main one writes.

    Attributes
    ----------
    last
        Newest value of everything in the history.
    """

    def __init__(
        self,
        job: TrainingJob,
        history: History | None,
        steps: int,
        evaluate: Callable[[], dict[str, float]] | None,
        every: int | None,
        selection: Selection | None = None,
    ) -> None:
        self.job, self.history, self.steps = job, history, steps
        self.evaluate, self.every, self.selection = evaluate, every, selection
        self.last: dict[str, float] = {}
        self.speeds: dict[str, list[float]] = {}
        for line in history.kept if history else ():
            self._remember({name: value for name, value in line.items() if name != "step"})
        self.live = _live_mirror(job)
        self.began, self.first_step, self.restored = time.monotonic(), 0, 0
        self._reset(0)

    def _reset(self, step: int) -> None:
        self.averages, self.since, self.since_step, self.restored = Averages(), time.monotonic(), step, 0

    def resume(self, checkpoint: Path, device: torch.device) -> None:
        """Go on with the averages as they were when the checkpoint was written."""
        self.since_step = self.first_step = checkpoints.step_of(checkpoint)
        state = (checkpoints.read_stamp(checkpoint) or {}).get("averages")
        if state:
            self.averages.restore(state, device)
            self.restored = self.averages.tokens

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.averages.calls:
            self.averages.share()
        processes.wait()
        if processes.is_main():
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            self.history.settle()
            if self.selection is not None:
                self.selection.into(folder)
            checkpoints.stamp(
                folder, self.job.checkpoint_key, {"processes": processes.count(), "averages": self.averages.state() if self.averages.calls else None}
            )

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs or self.averages.calls == 0:
            return
        self.averages.share()
        means = self.averages.means()
        if not math.isfinite(means["loss"]):
            raise UserError(
                f"{self.job.name}: the loss is {means['loss']} at step {state.global_step}; lower learning_rate, lengthen warmup_steps or set precision: fp32"
            )
        elapsed = max(1e-9, time.monotonic() - self.since)
        values = {"loss": means.pop("loss"), "learning_rate": logs.get("learning_rate"), "grad_norm": float(logs.get("grad_norm") or 0.0), **means}
        values["examples_per_second"] = round(self.job.settings.batch_size * (state.global_step - self.since_step) / elapsed, 1)
        figures = metering.meter().take(elapsed, state.global_step - self.since_step)
        if self.averages.tokens:
            rate = max(0, self.averages.tokens - self.restored) / elapsed
            values |= {"tokens_per_second": round(rate, 1), "padded_tokens_per_second": round(rate / (1 - figures.padding), 1), **figures.curve}
        self._write(state.global_step, values)
        self._reset(state.global_step)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.piece = metering.meter().begin()
        self.before = (self.averages.snapshot(), torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [])

    def back(self) -> None:
        """As it was when the step began that is under way: averages and random numbers."""
        averages, cpu, gpus = self.before
        self.averages = averages
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)

    def on_step_end(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **kwargs: Any) -> None:
        metering.meter().end(self.piece)
        if state.global_step == self.steps:
            control.should_log = True  # the curve ends with the training, not with the last multiple of log_steps
        if self.evaluate is None or model is None:
            return
        due = state.global_step == self.steps or (self.every and state.global_step % self.every == 0)
        if due and self._look(state.global_step, model):
            control.should_log = control.should_save = control.should_training_stop = True

    def on_train_begin(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **kwargs: Any) -> None:
        if self.selection is not None and self.selection.best is None and state.global_step == 0:
            self._look(0, model)  # the start is a candidate as well

    def _look(self, step: int, model: nn.Module) -> bool:
        """Evaluate and write the values; whether the training ends here."""
        before = time.monotonic()
        training = model.training
        model.eval()
        with torch.random.fork_rng(devices=[] if not torch.cuda.is_available() else None), torch.inference_mode(), metering.paused():
            values = self.evaluate()
        model.train(training)
        over = self.selection is not None and self.selection.look(step, values, model)
        self.since += time.monotonic() - before
        self._write(step, values)
        return over and step < self.steps

    def _remember(self, values: dict[str, Any]) -> None:
        self.last |= {name: value for name, value in values.items() if value is not None}
        for name in metering.SPEEDS:
            if name in values:
                self.speeds.setdefault(name, []).append(values[name])

    @property
    def speed(self) -> dict[str, float]:
        """Medians over the curve of what it says about speed, and the share of padding."""
        found = {name: round(median(values), 3) for name, values in self.speeds.items()}
        if found.get("padded_tokens_per_second"):
            found["padding"] = round(1 - found["tokens_per_second"] / found["padded_tokens_per_second"], 3)
        return found

    def _write(self, step: int, values: dict[str, Any]) -> None:
        if self.history is None:
            return
        self._remember(values)
        self.history.add(step, values)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if value is not None)
        say(f"{self.job.name} {step}/{self.steps} ({step / self.steps:.0%})  {self._to_go(step)}{shown}")
        if self.live is not None:
            self.live.log(step, values)

    def _to_go(self, step: int) -> str:
        """How much longer, by what the steps of this process took; nothing at the end."""
        if not self.first_step < step < self.steps:
            return ""
        return f"{span((time.monotonic() - self.began) / (step - self.first_step) * (self.steps - step))} to go  "


def _live_mirror(job: TrainingJob) -> Any:
    if not job.context.experiment.tracking.live or not job.is_main:
        return None
    from simlm.machine import arithmetic
    from simlm.tracking.identity import run_key
    from simlm.tracking.live import LiveMirror

    return LiveMirror(job.context, f"train.{job.name}", run_key(job.key, {**arithmetic(), "precision": job.precision.name}))
