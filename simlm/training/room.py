"""A training whose pieces do not fit into the device's memory goes on with pieces of half the size, from the step that failed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from simlm import processes
from simlm.models.halving import Halving

if TYPE_CHECKING:
    from simlm.training.job import TrainingJob


class Room:
    """How much of a step is forwarded at once.

    Examples of a micro-batch are halved where a module says that its loss may be divided (``divisible``). Another may need all of a step at once; of
    its models the texts that they forward at once are halved (``most_texts``), and what they keep is computed again in the backward pass.

    Parameters
    ----------
    micro, share
        Examples of a micro-batch, and of this process's part of a step.
    """

    def __init__(self, job: TrainingJob, module: nn.Module, micro: int, share: int) -> None:
        self.name, self.setting, self.micro, self.share = job.name, f"{job.place}.micro_batch_size", micro, share
        self.whole = not getattr(module, "divisible", False)
        self.parts = [part for part in module.modules() if hasattr(part, "most_texts")] if self.whole else []
        self.halving: Halving | None = None

    def halve(self, inputs: dict[str, Any]) -> None:
        """Make less of a step be forwarded at once than of ``inputs``, the micro-batch that did not fit.

        Raises
        ------
        UserError
            If that was done before, if it cannot be done, or if there are several processes, of which the others went on.
        """
        if self.halving is None:
            texts = max(texts_of(inputs))
            size = min([texts, *(part.most_texts for part in self.parts if part.most_texts)]) if self.whole else self.micro
            self.halving = Halving(size, "texts" if self.whole else "examples", self.setting, f"{self.name}: ")
            if processes.count() > 1 or (self.whole and not self.parts):
                raise self.halving.refusal()
        self.halving.halve()
        if self.whole:
            for part in self.parts:
                part.most_texts = self.halving.size
        else:
            self.micro = self.halving.size = next(size for size in range(self.halving.size, 0, -1) if self.share % size == 0)
        gc.collect()


def texts_of(inputs: Any) -> Iterator[int]:
    """Rows of all padded texts in a batch.

    >>> list(texts_of({"queries": {"input_ids": torch.zeros(2, 4)}, "pieces": [{"input_ids": torch.zeros(3, 4)}], "group": 4}))
    [2, 3]
    """
    for value in inputs.items() if isinstance(inputs, dict) else enumerate(inputs):
        name, found = value
        if name in ("input_ids", "tokens") and isinstance(found, torch.Tensor):
            yield len(found)
        elif isinstance(found, dict | list):
            yield from texts_of(found)
