"""What a stage computes and what its device could, for the share of the peak that its log and record name; the operations are those that the plan counts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from simlm import hardware, processes
from simlm.context import Context
from simlm.metering import Known

if TYPE_CHECKING:
    from simlm.planning.work import Workload


def known(context: Context, name: str, work: str) -> Known | None:
    """Operations of a unit of ``work`` (an optimiser step in ``training``, a passage in ``encoding``, a pair in ``scoring``) of the model ``name``.

    A training is measured over all processes of its job, the others by the main one and its device. None where the job has no GPU, or one
    whose peak is not known: what a processor's peak is, no file of it says.
    """
    if hardware.gpu() is None:
        return None
    import torch

    from simlm.planning.counts import count
    from simlm.planning.work import Workload

    peak = peak_of(torch.cuda.get_device_name())
    if peak is None:
        return None
    workload = Workload(context.experiment, count(context.experiment, context.paths))
    return Known(operations(workload, name, work), peak * (processes.count() if work == "training" else 1))


def operations(workload: Workload, name: str, work: str) -> float:
    """Operations of a unit of work, as :func:`known` counts them."""
    if work == "training":
        return workload.training(name).operations / workload.steps(name)
    return workload.encoding(name) if work == "encoding" else workload.scoring(name)


def peak_of(device: str) -> float | None:
    """Operations per second of a GPU by the name that its driver gives it; None if it is not among those of the cost model.

    >>> peak_of("NVIDIA H100 80GB HBM3"), peak_of("Tesla V100-SXM2-16GB"), peak_of("NVIDIA GeForce RTX 4090")
    (989000000000000.0, 125000000000000.0, None)
    """
    from simlm.planning.costs import load_costs

    words = re.split(r"[^a-z0-9]+", device.lower())
    return next((one.peak_tflops * 1e12 for name, one in load_costs().accelerators.items() if name in words), None)
