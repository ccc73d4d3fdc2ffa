"""Launches a job with what it was granted: GPUs of its own, as many processes as it asked for, and the end of its time.

Snakemake counts GPUs but does not say which one a job may use. The workflow therefore runs
``python -m simlm.devices --gpus N -- COMMAND...``; under Slurm, which hands out devices itself, none are locked here.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from simlm.errors import UserError
from simlm.hardware import available_cores
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


def claim(count: int, names: list[str], folder: Path = FOLDER, seconds: float = 1.0) -> list[str]:
    """Wait for ``count`` free devices and lock them for the rest of this process, and of what it becomes.

    All or none are taken, so that two jobs never wait for each other.
    """
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        with open(folder / "all.lock", "w") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            held: dict[str, int] = {}
            for name in names:
                handle = os.open(folder / f"{name.replace('/', '_')}.lock", os.O_CREAT | os.O_RDWR)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    os.close(handle)
                    continue
                held[name] = handle
                if len(held) == count:
                    for each in held.values():
                        os.set_inheritable(each, True)
                    return list(held)
            for handle in held.values():
                os.close(handle)
        time.sleep(seconds)


def environment_for(gpus: int, environment: Mapping[str, str], folder: Path = FOLDER) -> dict[str, str]:
    """The environment of a job that was granted ``gpus`` devices.

    Raises
    ------
    UserError
        If the machine has fewer devices.
    """
    if "SLURM_JOB_ID" in environment:
        return dict(environment)
    if gpus == 0:
        # A job that asked for none computes the same on every machine.
        return {**environment, "CUDA_VISIBLE_DEVICES": ""}
    names = devices(environment)
    if len(names) < gpus:
        raise UserError(
            f"{gpus} GPUs were asked for, but this machine offers {len(names)}; lower `gpus` in the configuration or start with --resources gpu={len(names)}"
        )
    return {**environment, "CUDA_VISIBLE_DEVICES": ",".join(claim(gpus, names, folder))}


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
    except UserError as error:
        print(f"simlm: {error}", file=sys.stderr)
        return 2
    end = end_of_job(environment, arguments.minutes)
    if end is not None:
        environment[VARIABLE] = str(int(end))
    wanted = arguments.processes
    program, environment = program_for((arguments.gpus or wanted) if wanted else 1, environment)
    os.execve(program[0], [*program, *arguments.command], environment)


if __name__ == "__main__":
    raise SystemExit(main())
