"""Averages of what a training reports between two points of its curve, over all processes and across a resume."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed

from simlm import processes


class Averages:
    """Sums of the values that forward passes return; ``tokens`` are counted, everything else is averaged.

    >>> averages = Averages()
    >>> averages.add({"loss": torch.tensor(1.0), "tokens": torch.tensor(5)}); averages.add({"loss": torch.tensor(2.0), "tokens": torch.tensor(6)})
    >>> averages.means(), averages.tokens
    ({'loss': 1.5}, 11)
    """

    def __init__(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.calls, self.counted = 0, torch.zeros((), dtype=torch.int64)

    def add(self, outputs: dict[str, torch.Tensor]) -> None:
        """Add the scalars of one forward pass."""
        self.calls += 1
        for name, value in outputs.items():
            value = value.detach()
            if name == "tokens":
                self.counted = self.counted.to(value.device) + value
            else:
                self.sums[name] = self.sums[name] + value if name in self.sums else value

    def snapshot(self) -> Averages:
        """The same, which further calls leave as it is."""
        same = Averages()
        same.sums, same.calls, same.counted = dict(self.sums), self.calls, self.counted
        return same

    def means(self) -> dict[str, float]:
        """Mean of each value over the forward passes, in the order in which they came."""
        return {name: float(total) / self.calls for name, total in self.sums.items()}

    @property
    def tokens(self) -> int:
        """Tokens that passed through."""
        return int(self.counted)

    def share(self) -> None:
        """Put the mean over all processes (of tokens: the sum) into the sums of each; every process must call it."""
        world = processes.count()
        if world == 1:
            return
        both = torch.stack([*(total.double() for total in self.sums.values()), self.counted.to(next(iter(self.sums.values())).device).double()])
        distributed.all_reduce(both)
        self.sums = {name: (total / world).float() for name, total in zip(self.sums, both)}
        # Only the main process keeps the count: the next call adds those of all.
        self.counted = both[-1].long() if processes.is_main() else torch.zeros_like(self.counted)

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs; call :meth:`share` first."""
        return {"calls": self.calls, "tokens": self.tokens, "sums": {name: float(total) for name, total in self.sums.items()}}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from a saved state, to the last bit."""
        self.calls = state["calls"]
        self.counted = torch.tensor(state["tokens"] if processes.is_main() else 0, device=device)
        self.sums = {name: torch.tensor(total, dtype=torch.float32, device=device) for name, total in state["sums"].items()}
