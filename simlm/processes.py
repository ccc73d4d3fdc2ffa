"""Several processes of one job: which one this is, and how they wait for each other.

``python -m simlm.launch`` starts them and says in the environment who is who; a job of one process needs none of this and none of it
does anything there.
"""

from __future__ import annotations

import atexit
import json
import os
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TypeVar

from simlm.errors import UserError

Value = TypeVar("Value")

LONGEST_WAIT = timedelta(hours=1)
"""A process that waits longer for the others fails: the processes of a broken job must not hold their devices for ever."""

HEAD_START = 2.0
"""Seconds that the main process has to say a sentence before the others say theirs."""

MEETING = "SIMLM_MEETING"
"""Variable with the file by which the processes of a job find each other."""

LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo0" if os.uname().sysname == "Darwin" else "lo", "NCCL_SOCKET_IFNAME": "lo"}
"""Variables that keep the processes' sockets from other machines."""


def rank() -> int:
    """Number of this process, from 0."""
    return _place(os.environ)[0]


def count() -> int:
    """Number of processes of this job."""
    return _place(os.environ)[1]


def is_main() -> bool:
    """Whether this process writes files and says what happens."""
    return rank() == 0


def _place(environment: Mapping[str, str]) -> tuple[int, int]:
    """Number of a process and of all; (0, 1) outside a job of several."""
    if MEETING not in environment:
        return 0, 1
    return int(environment["RANK"]), int(environment["WORLD_SIZE"])


def check(environment: Mapping[str, str]) -> None:
    """Refuse an environment that says that this is one of several processes, but not by our launcher.

    Raises
    ------
    UserError
        If another launcher (torchrun, mpirun) set RANK and WORLD_SIZE, or something else did and they do not fit.

    >>> check({}); check({"RANK": "0", "WORLD_SIZE": "1"})
    >>> check({"RANK": "1"})
    Traceback (most recent call last):
        ...
    simlm.errors.UserError: the environment says RANK=1, as if this were one of several processes; unset it, or start several with ...
    """
    said = {name: environment[name] for name in ("RANK", "WORLD_SIZE") if environment.get(name)}
    shown = " and ".join(f"{name}={value}" for name, value in said.items())
    instead = "unset it, or start several with python -m simlm.launch --processes N -- COMMAND"
    if MEETING not in environment:
        if said.get("RANK", "0") != "0" or said.get("WORLD_SIZE", "1") != "1":
            raise UserError(f"the environment says {shown}, as if this were one of several processes; {instead}")
        return
    fits = len(said) == 2 and all(value.isascii() and value.isdigit() for value in said.values()) and int(said["RANK"]) < int(said["WORLD_SIZE"])
    if not fits:
        raise UserError(f"the environment says {shown or 'neither RANK nor WORLD_SIZE'}, which is no place among several processes; unset {MEETING}, {instead}")


def join() -> None:
    """Meet the other processes: gloo between CPUs, nccl between GPUs, one device per process.

    Call it before anything is put on a device. They meet by a file and not by a port, and speak over the loopback interface
    (:data:`LOOPBACK`), so that nobody else can speak to them.
    """
    if count() == 1:
        return
    import torch
    from torch import distributed

    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not distributed.is_initialized():
        store = distributed.FileStore(os.environ[MEETING], count())
        distributed.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", store=store, rank=rank(), world_size=count(), timeout=LONGEST_WAIT)
        atexit.register(_leave)


def let_main_speak() -> None:
    """Called by a process that is about to fail: what fails in all of them the main one says, and its end ends the others."""
    if not is_main():
        time.sleep(HEAD_START)


def wait() -> None:
    """Wait until all processes are here."""
    from_main(None)


def from_main(value: Value) -> Value:
    """What the main process gives, in every process: numbers, texts, lists and objects of JSON, so that nothing is unpickled.

    >>> from_main(3)
    3
    """
    if count() == 1:
        return value
    import torch
    from torch import distributed

    text = bytearray(json.dumps(value).encode()) if is_main() else bytearray()
    length = torch.tensor([len(text)])
    distributed.broadcast(length, src=0)
    content = torch.frombuffer(text, dtype=torch.uint8) if is_main() else torch.empty(int(length), dtype=torch.uint8)
    distributed.broadcast(content, src=0)
    return value if is_main() else json.loads(bytes(content.numpy()))


def _leave() -> None:
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
