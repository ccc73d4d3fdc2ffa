"""Dropout that does not wait for random numbers.

On a CPU torch draws a Bernoulli number for every element, in one thread: for an encoder of one layer more work than all its
other operations together. Here a random byte decides, so that a probability is rounded to a multiple of 1/256 (0.1 to
0.1016) and what is kept is scaled by the rounded one. On other devices torch's own dropout stays in use.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

VALUES = 256
"""Values of a byte."""


class ByteDropout(nn.Dropout):
    """`torch.nn.Dropout`, several times as fast on a CPU; draws from torch's default generator.

    >>> _ = torch.manual_seed(0)
    >>> ByteDropout(0.25)(torch.ones(8))
    tensor([0.0000, 1.3333, 1.3333, 1.3333, 1.3333, 0.0000, 1.3333, 1.3333])
    >>> ByteDropout(0.25).eval()(torch.ones(2))
    tensor([1., 1.])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        dropped = round(self.p * VALUES)
        if not self.training or dropped == 0 or dropped == VALUES or input.device.type != "cpu":
            return super().forward(input)
        return _Dropped.apply(input, dropped)


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, states: torch.Tensor, dropped: int) -> torch.Tensor:
        words = torch.empty(-(-states.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        drawn = words.view(torch.uint8)[: states.numel()].view(states.shape)
        kept = (drawn >= dropped).to(states.dtype).mul_(VALUES / (VALUES - dropped))
        context.save_for_backward(kept)
        return states * kept

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (kept,) = context.saved_tensors
        return gradient * kept, None


def use_byte_dropout(model: nn.Module) -> None:
    """Put :class:`ByteDropout` in the place of every `torch.nn.Dropout` of ``model``; names and weights stay."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, ByteDropout(child.p).train(child.training))
