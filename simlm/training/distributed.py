"""One loss over the global batch, however many processes share it."""

from __future__ import annotations

import torch
from torch import distributed


def world_size() -> int:
    """Number of training processes."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def gather(local: torch.Tensor) -> torch.Tensor:
    """Rows of all processes in rank order; gradients flow through this process's own rows only.

    Every process must hold the same number of rows.

    >>> gather(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """
    if world_size() == 1:
        return local
    parts = [torch.empty_like(local) for _ in range(world_size())]
    distributed.all_gather(parts, local.detach().contiguous())
    parts[distributed.get_rank()] = local
    return torch.cat(parts)


def scale_gradient(loss: torch.Tensor) -> torch.Tensor:
    """The same value with a gradient ``world_size()`` times as large.

    Each process computes the loss of the whole global batch but carries the gradient of its own rows; their sum is
    wanted, and DistributedDataParallel takes their mean.
    """
    world = world_size()
    return loss if world == 1 else loss.detach() + world * (loss - loss.detach())
