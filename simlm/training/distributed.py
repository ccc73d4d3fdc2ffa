"""One loss over the global batch, however many processes share it."""

from __future__ import annotations

from typing import Any

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


def parts_of(batch: dict[str, Any]) -> list[dict[str, Any]]:
    """The pieces that a batch is read in, or the batch itself."""
    return batch.get("pieces", [batch])


def put_shares(batches: list[dict[str, Any]]) -> None:
    """Turn the ``counts`` of the micro-batches of one step into ``shares``, in place.

    A loss that is a mean over labels has as many labels in each micro-batch as its texts happen to have. The mean over
    the step is not the mean of these means: each counts by its share of the labels of all micro-batches of all
    processes. A share is 1 where all have the same number, and exactly 1 where there is only one.

    Parameters
    ----------
    batches
        This process's micro-batches of the step; those without ``counts`` (integers, shape (kinds of labels,)) stay as they are.

    >>> batches = [{"counts": torch.tensor([30])}, {"counts": torch.tensor([10])}]
    >>> put_shares(batches); [batch["shares"].tolist() for batch in batches]
    [[1.5], [0.5]]
    """
    if not batches or "counts" not in batches[0]:
        return
    counts = torch.stack([batch.pop("counts") for batch in batches]).double()
    totals = counts.sum(0)
    if world_size() > 1:
        distributed.all_reduce(totals)
    shares = counts * (len(batches) * world_size()) / totals.clamp(min=1)
    for batch, share in zip(batches, shares.float()):
        batch["shares"] = share
