"""Launches a job with what it was granted: GPUs of its own, as many processes as it asked for, and the end of its time.

Snakemake counts GPUs but does not say which one a job may use. The workflow therefore runs
``python -m simlm.devices --gpus N -- COMMAND...``; inside an allocation of Slurm the devices are those of the allocation, which jobs may share.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from simlm.errors import UserError
from simlm.hardware import available_cores
from simlm.locks import LockFolder, Waiting
from simlm.walltime import VARIABLE, end_of_job

FOLDER = Path(tempfile.gettempdir()) / f"simlm-devices-{os.getuid() if hasattr(os, 'getuid') else 0}"
"""One lock file per device; a lock lives as long as the process that holds it, however that ends."""


def devices(environment: Mapping[str, str]) -> list[str]:
    """Names of the devices that this machine lets us use.

    >>> devices({"CUDA_VISIBLE_DEVICES": "0,2"})
    ['0', '2']
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    try:
        listing = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return listing.stdout.split()


def claim(count: int, names: list[str], folder: Path = FOLDER, seconds: float = 1.0, scope: str = "") -> list[str]:
    """Wait for ``count`` free devices and lock them for the rest of this process, and of what it becomes.

    All or none are taken, so that two jobs never wait for each other.

    Parameters
    ----------
    scope
        Beginning of the locks' names: inside an allocation device 0 need not be another allocation's device 0.

    Raises
    ------
    UserError
        If the folder of the locks is not safely ours.
    """
    waiting, wanted = Waiting(), f"{count} of the devices {', '.join(names)}"
    with LockFolder(folder) as locks:
        while True:
            gate = locks.take(f"{scope}all")
            if gate is None:
                waiting.tell(lambda: f"Waiting for {wanted}: {locks.holder(f'{scope}all')} is choosing its own.")
                time.sleep(min(seconds, 0.1))
                continue
            try:
                held: dict[str, int] = {}
                for name in names:
                    handle = locks.take(_lock(scope, name))
                    if handle is not None:
                        held[name] = handle
                    if len(held) == count:
                        for each in held.values():
                            os.set_inheritable(each, True)
                        return list(held)
                for handle in held.values():
                    os.close(handle)
            finally:
                os.close(gate)
            busy = [name for name in names if name not in held]
            waiting.tell(lambda: f"Waiting for {wanted}; held: " + "; ".join(f"{name} by {locks.holder(_lock(scope, name))}" for name in busy))  # noqa: B023
            time.sleep(seconds)


def _lock(scope: str, name: str) -> str:
    return scope + name.replace("/", "_")


def environment_for(gpus: int, environment: Mapping[str, str], folder: Path = FOLDER) -> dict[str, str]:
    """The environment of a job that was granted ``gpus`` devices: it sees these and no others.

    Raises
    ------
    UserError
        If the machine, or the allocation of a batch system, has fewer devices.
    """
    if gpus < 0:
        raise UserError(f"--gpus is {gpus}; give a number of devices, or 0 for none")
    if gpus == 0:
        # A job that asked for none computes the same on every machine.
        return {**environment, "CUDA_VISIBLE_DEVICES": ""}
    names = devices(environment)
    if len(names) < gpus:
        raise UserError(
            f"{gpus} GPUs were asked for, but this machine offers {len(names)}; lower `gpus` in the configuration or start with --resources gpu={len(names)}"
        )
    # Slurm hands out devices to an allocation; several jobs may share it.
    job = environment.get("SLURM_JOB_ID") if "CUDA_VISIBLE_DEVICES" in environment else None
    scope = f"slurm-{re.sub(r'[^0-9A-Za-z]', '_', job)}-" if job else ""
    return {**environment, "CUDA_VISIBLE_DEVICES": ",".join(claim(gpus, names, folder, scope=scope))}


def program_for(processes: int, environment: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """How to start ``processes`` simlm processes, and their environment: each gets its share of the job's threads."""
    if processes == 1:
        return [sys.executable, "-m", "simlm.cli"], environment
    threads = max(1, available_cores() // processes)
    return [sys.executable, "-m", "simlm.launch", "--processes", str(processes), "--"], {**environment, "OMP_NUM_THREADS": str(threads)}


def main(argv: list[str] | None = None) -> int:
    """Become the simlm command, with its devices."""
    parser = argparse.ArgumentParser(prog="python -m simlm.devices", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, required=True, metavar="N", help="devices that were granted")
    parser.add_argument("--processes", type=int, metavar="N", help="processes that share the work (default: 1); with GPUs there is one per GPU")
    parser.add_argument("--minutes", type=float, metavar="N", help="wall time that was requested, a limit where a batch system runs the job")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="simlm command with its options, after --")
    arguments = parser.parse_args(argv)
    try:
        environment = environment_for(arguments.gpus, os.environ)
        end = end_of_job(environment, arguments.minutes)
    except UserError as error:
        print(f"simlm: {error}", file=sys.stderr)
        return 2
    if end is not None:
        environment[VARIABLE] = str(int(end))
    wanted = arguments.processes
    program, environment = program_for((arguments.gpus or wanted) if wanted else 1, environment)
    os.execve(program[0], [*program, *arguments.command], environment)


if __name__ == "__main__":
    raise SystemExit(main())
