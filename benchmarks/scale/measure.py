"""Run a command and measure it: wall time, CPU time, peak memory of its largest process.

Memory is given twice. `rss` counts everything resident, files mapped into memory included, as `/usr/bin/time -v` does; the
kernel takes mapped pages back when others need memory. `anonymous` is what the process itself allocated, the part that cannot
be taken back; it is sampled five times a second.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measurement:
    """Seconds and GiB of one command."""

    wall: float
    cpu: float
    rss: float
    anonymous: float

    def row(self, stage: str) -> str:
        """A line of a Markdown table."""
        return f"| {stage} | {self.wall:,.0f} | {self.cpu:,.0f} | {self.rss:.2f} | {self.anonymous:.2f} |"


HEADER = "| stage | wall s | CPU s | peak rss GiB | of which anonymous GiB |\n|---|---|---|---|---|"


def measure(command: list[str], log: Path) -> Measurement:
    """Run ``command`` with its output in ``log``; raises ``CalledProcessError`` with the log's end on a failure."""
    peak = 0
    before = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.2):
                peak = max(peak, _anonymous(process.pid))

        thread = threading.Thread(target=watch)
        thread.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        done.set()
        thread.join()
    if process.returncode:
        print(log.read_text()[-2000:], file=sys.stderr)
        raise subprocess.CalledProcessError(process.returncode, command)
    return Measurement(time.monotonic() - before, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20, peak / 2**20)


def _anonymous(pid: int) -> int:
    """Anonymous resident memory of a process in KiB."""
    try:
        with open(f"/proc/{pid}/status") as stream:
            return next((int(line.split()[1]) for line in stream if line.startswith("RssAnon")), 0)
    except OSError:
        return 0
