"""Stops a training with a checkpoint shortly before the job's wall time ends."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from simlm import processes
from simlm.errors import OutOfTime
from simlm.walltime import Clock, out_of_time


class StopInTime(TrainerCallback):
    """Asks for a checkpoint and the end of the training when there is no time for another step and its checkpoint.

    Attributes
    ----------
    stopped_at
        The step after which it stopped, or None.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock.of_this_job()
        self.stopped_at: int | None = None
        self.begun = False

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # From one beginning to the next, so that a step's evaluation, logging and checkpoint count as well.
        self.clock.piece_done() if self.begun else self.clock.start()
        self.begun = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.clock.end is None:
            return
        # The processes' clocks may differ, their decision must not.
        if processes.from_main(self.clock.is_over()):
            self.stopped_at = state.global_step
            control.should_save = control.should_training_stop = True

    def check(self, name: str, steps: int) -> None:
        """Raise :class:`~simlm.errors.OutOfTime` if the training of ``name`` was stopped before the last of its steps."""
        if self.stopped_at is not None and self.stopped_at < steps:
            raise OutOfTime(out_of_time(f"{name}, step {self.stopped_at} of {steps}"))
