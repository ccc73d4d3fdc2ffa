"""Which example is seen when, and with which learning rate: pure functions of the seed and the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np


class Schedule:
    """The examples of a whole training in their order, as a map-style data set.

    Global step ``s`` uses items ``s * batch_size … (s + 1) * batch_size - 1``; an epoch is a permutation
    drawn from (seed, epoch) alone, so neither workers, processes nor a resume change what is seen.

    Parameters
    ----------
    examples
        Number of training examples.
    total
        Number of items of the whole training: steps × global batch.
    seed
        Seed of the permutations.
    make
        Called as ``make(epoch, index)``; its result goes to the collator.
    lengths, step, micro, processes
        Length of each example, examples per step and per micro-batch, and processes. With lengths the examples of a step are sorted by them before
        they are cut into micro-batches, so that each is padded no further than its own examples need; the step as a whole is the same. The
        processes take the micro-batches in turns, so these come longest first, shortest first, and so on: all processes get about as much to do.

    >>> order = Schedule(examples=3, total=7, seed=1, make=lambda epoch, index: (epoch, index))
    >>> [epoch for epoch, _ in (order[i] for i in range(7))], sorted(order[i][1] for i in range(3))
    ([0, 0, 0, 1, 1, 1, 2], [0, 1, 2])
    >>> by_length = Schedule(4, 8, 1, lambda epoch, index: index, lengths=np.array([5, 9, 7, 6]), step=4, micro=1, processes=2)
    >>> [by_length[i] for i in range(8)]
    [1, 2, 0, 3, 1, 2, 0, 3]
    """

    def __init__(
        self,
        examples: int,
        total: int,
        seed: int,
        make: Callable[[int, int], Any],
        lengths: np.ndarray | None = None,
        step: int = 1,
        micro: int = 1,
        processes: int = 1,
    ) -> None:
        self.examples, self.total, self.seed, self.make = examples, total, seed, make
        self.lengths, self.step, self.micro, self.processes = lengths, step, micro, processes
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)
        self._sorted_step, self._sorted = -1, []

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, item: int) -> Any:
        if not 0 <= item < self.total:
            raise IndexError(item)
        if self.lengths is None:
            return self.make(*self._example(item))
        step, place = divmod(item, self.step)
        if step != self._sorted_step:
            self._sorted, self._sorted_step = self._by_length(range(step * self.step, min(self.total, (step + 1) * self.step))), step
        return self.make(*self._sorted[place])

    def _by_length(self, items: range) -> list[tuple[int, int]]:
        """The examples of a step in the order in which processes and micro-batches take them."""
        own = sorted(map(self._example, items), key=lambda example: -int(self.lengths[example[1]]))
        turns = [own[first : first + self.micro] for first in range(0, len(own), self.micro)]
        for first in range(self.processes, len(turns), 2 * self.processes):
            turns[first : first + self.processes] = reversed(turns[first : first + self.processes])
        return [example for turn in turns for example in turn]

    def _example(self, item: int) -> tuple[int, int]:
        """Epoch and index of an item, before the examples of its step are sorted."""
        epoch, place = divmod(item, self.examples)
        if epoch != self._epoch:
            self._order = np.random.default_rng([self.seed, epoch]).permutation(self.examples)
            self._epoch = epoch
        return epoch, int(self._order[place])


def total_steps(settings: Any, examples: int) -> int:
    """Optimiser steps of a training: ``steps``, or enough for ``epochs`` passes over ``examples``."""
    if settings.steps is not None:
        return settings.steps
    return max(1, math.ceil(settings.epochs * examples / settings.batch_size))


LOOKS = (5, 10)
"""Fewest and most looks of a training that keeps the best of them, where an epoch is very long or very short."""


def look_every(epoch: int, steps: int) -> int:
    """Steps between two looks at the held-out queries: an epoch, within :data:`LOOKS`.

    >>> look_every(73, 219), look_every(1000, 1000), look_every(3, 300)
    (44, 200, 30)
    """
    return min(max(epoch, math.ceil(steps / LOOKS[1])), math.ceil(steps / LOOKS[0]))


def learning_rate_factor(step: int, *, warmup: int, total: int, shape: str, decay: str = "linear") -> float:
    """Factor on the peak learning rate: warm-up, then linear decay to 0, or with ``decay`` ``none`` the peak itself.

    ``linear`` is PyTorch's and transformers' schedule; ``logarithmic`` warms up as log(step + 1) / log(warmup),
    as the authors' DeepSpeed configuration does.

    >>> learning_rate_factor(5, warmup=10, total=20, shape="linear"), learning_rate_factor(15, warmup=10, total=20, shape="linear")
    (0.5, 0.5)
    """
    if step < warmup:
        if shape == "logarithmic" and warmup > 1:
            return min(1.0, math.log(step + 1) / math.log(warmup))
        return step / warmup
    return 1.0 if decay == "none" else max(0.0, (total - step) / max(1, total - warmup))
