"""Checkpoints between those of every so many steps: by the clock, and when somebody interrupts the training."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import torch
from torch import distributed
from transformers import TrainerCallback

from simlm import processes
from simlm.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SaveInTime(TrainerCallback):
    """Asks for a checkpoint when the last one is ``minutes`` old, and for one and the end of the training at an interrupt.

    As a context manager it takes SIGINT and SIGTERM while a training runs. The first of each is answered after the step under way,
    the second at once, as if nobody had taken the first: a launcher that is interrupted passes SIGTERM on after the SIGINT that the
    whole group of processes was given.

    Attributes
    ----------
    stopped_at
        The step after which an interrupt stopped it, or None.
    """

    def __init__(self, minutes: float) -> None:
        self.seconds = 60 * minutes
        self.saved = time.monotonic()
        self.received = 0
        self.stopped_at: int | None = None

    def __enter__(self) -> SaveInTime:
        # Only the main thread may handle signals; in another one they do what they always did.
        self.before = {number: signal.signal(number, self._receive) for number in SIGNALS} if threading.current_thread() is threading.main_thread() else {}
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: Any) -> None:
        self.received = self.received or number
        signal.signal(number, self.before[number])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        due, self.received = self._agree(time.monotonic() - self.saved >= self.seconds)
        if due or self.received:
            control.should_save = True
        if self.received:
            self.stopped_at = state.global_step
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.saved = time.monotonic()

    def check(self, name: str, steps: int) -> None:
        """Raise :class:`~simlm.errors.Interrupted` if a signal ended the training of ``name`` before the last of its steps."""
        if self.stopped_at is not None and self.stopped_at < steps:
            number = self.received
            raise Interrupted(
                f"{name}, step {self.stopped_at} of {steps}: stopped by {signal.Signals(number).name} with a checkpoint; the same command goes on from there",
                128 + number,
            )

    def _agree(self, due: bool) -> tuple[bool, int]:
        """Clocks and signals of the processes differ, their decision must not."""
        if processes.count() == 1:
            return due, self.received
        both = torch.tensor([int(due), self.received])
        distributed.all_reduce(both, distributed.ReduceOp.MAX)
        return bool(both[0]), int(both[1])
