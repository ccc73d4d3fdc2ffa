"""Start one simlm command in several processes of this machine that share its work.

    python -m simlm.launch --processes 2 -- train --config config/smoke.yaml --model retriever1

The processes meet by a file that only their user can open and speak over the loopback interface: nothing listens for other machines.
They end with the first that fails and with this launcher, whose exit code is the command's own.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simlm.errors import OutOfTime
from simlm.processes import LOOPBACK, MEETING

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(argv: list[str] | None = None) -> int:
    """Run the command in all processes; returns 0, or the exit code of the process that failed first."""
    parser = argparse.ArgumentParser(prog="python -m simlm.launch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, required=True, metavar="N", help="how many")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="simlm command with its options, after --")
    arguments = parser.parse_args(argv)
    if arguments.processes < 1:
        parser.error(f"argument --processes: {arguments.processes} is not a number of processes")
    code = run([sys.executable, "-m", "simlm.cli", *arguments.command], arguments.processes)
    if code < 0:
        print(f"simlm: a process of {arguments.command[0]} was ended by signal {-code}; the command goes on from what is saved", file=sys.stderr)
    return code if code >= 0 else 128 - code


def run(program: list[str], processes: int) -> int:
    """Run ``program`` in several processes that :func:`simlm.processes.join` lets meet.

    Returns
    -------
    int
        0, or the exit code of the process that failed first; negative: the signal that ended it, or this launcher.
    """
    with tempfile.TemporaryDirectory(prefix="simlm-launch-") as folder:
        # Only their owner can open what lies in the folder.
        common = {**os.environ, **LOOPBACK, MEETING: str(Path(folder) / "meeting"), "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
        common.setdefault("OMP_NUM_THREADS", "1")
        own = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
        with _Signals() as received:
            # Sessions of their own: an interrupt of the terminal reaches them once, through this process.
            started = [subprocess.Popen(program, env=common | each, start_new_session=True, preexec_fn=_ender()) for each in own]
            try:
                return _first_failure(started, received)
            finally:
                _end(started)


def _first_failure(started: list[subprocess.Popen], received: list[int]) -> int:
    """Wait for all to end well, or for the first that does not, or for a signal to this process."""
    while True:
        if received:
            for process in started:
                process.send_signal(received[0])
            _wait(started, GRACE)
            return -received[0]
        codes = [process.poll() for process in started]
        failed = next((code for code in codes if code), None)
        if failed is not None:
            if failed == OutOfTime.code:
                _wait(started, GRACE)  # all of them save what they have
            return failed
        if all(code == 0 for code in codes):
            return 0
        time.sleep(0.05)


def _end(started: list[subprocess.Popen]) -> None:
    for process in started:
        if process.poll() is None:
            process.terminate()
    _wait(started, GRACE)
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def _wait(started: list[subprocess.Popen], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(process.poll() is None for process in started):
        time.sleep(0.05)


class _Signals:
    """Collects the signals that this process is sent within the block, which would otherwise end it before its children."""

    def __enter__(self) -> list[int]:
        received: list[int] = []
        self._before = {number: signal.signal(number, lambda number, frame: received.append(number)) for number in SIGNALS}
        return received

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _ender() -> Callable[[], None] | None:
    """What a child does first: from then on it ends with this process, so that a killed job leaves none that writes into its successor's folder."""
    if platform.system() != "Linux":
        return None
    PR_SET_PDEATHSIG, parent, prctl = 1, os.getpid(), ctypes.CDLL(None).prctl

    def end_with_parent() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(128 + signal.SIGKILL)

    return end_with_parent


if __name__ == "__main__":
    raise SystemExit(main())
