"""Several processes of one job: which one this is, and how they wait for each other.

``torchrun`` (or ``python -m simlm.launch``) starts them and says in the environment who is who; a job of one process
needs none of this and none of it does anything there.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import platform
import signal
from datetime import timedelta
from typing import TypeVar

Value = TypeVar("Value")

LONGEST_WAIT = timedelta(hours=1)
"""A process that waits longer for the others fails: the processes of a broken job must not hold their devices for ever."""


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def count() -> int:
    """Number of processes of this job."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process writes files and says what happens."""
    return rank() == 0


def join() -> None:
    """Meet the other processes: gloo between CPUs, nccl between GPUs, one device per process.

    Call it before anything is put on a device. From then on the process ends with the one that started it, so that a
    killed job leaves none behind that writes into the folder of its successor.
    """
    if count() == 1:
        return
    import torch
    from torch import distributed

    _end_with_parent()
    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=LONGEST_WAIT)
        atexit.register(_leave)


def wait() -> None:
    """Wait until all processes are here."""
    from_main(None)


def from_main(value: Value) -> Value:
    """What the main process gives, in every process.

    >>> from_main(3)
    3
    """
    if count() == 1:
        return value
    from torch import distributed

    box = [value]
    distributed.broadcast_object_list(box, src=0, device=_cpu())
    return box[0]


def _cpu():
    import torch

    return torch.device("cpu")


def _leave() -> None:
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def _end_with_parent() -> None:
    if platform.system() == "Linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
