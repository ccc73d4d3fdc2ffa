"""The end of a job's wall time: batch systems kill at a fixed moment, so work is saved and ended shortly before it.

The launcher (``python -m simlm.devices --minutes N``) asks the batch system when it will end the job and puts that moment
into ``SIMLM_END_TIME`` (Unix seconds); anybody else may set it as well. Long stages look at it between two pieces of
work. On a machine without a batch system nothing ends a job, and the requested minutes are no limit.
"""

from __future__ import annotations

import math
import os
import subprocess
import time
from collections.abc import Mapping
from datetime import datetime

from simlm.errors import OutOfTime, UserError

VARIABLE = "SIMLM_END_TIME"

BATCH_JOBS = ("LSB_JOBID", "PBS_JOBID", "SGE_TASK_ID", "SIMLM_BATCH_JOB")
"""Variables by which a job of LSF, PBS or Grid Engine is known, and one for all others: there the requested minutes count."""


def end_of_job(environment: Mapping[str, str], minutes: float | None, now: float | None = None) -> float | None:
    """When the job will be killed, in Unix seconds, or None if nobody will.

    Parameters
    ----------
    minutes
        Wall time that was requested; counts from now, in batch systems that cannot be asked.

    Raises
    ------
    UserError
        If ``SIMLM_END_TIME`` is no number.

    >>> end_of_job({"LSB_JOBID": "7"}, 10, now=1000.0), end_of_job({}, 10)
    (1600.0, None)
    """
    given = environment.get(VARIABLE)
    if given:
        return _moment(given)
    if "SLURM_JOB_ID" in environment:
        return _end_in_slurm(environment)
    if minutes and any(name in environment for name in BATCH_JOBS):
        return (time.time() if now is None else now) + 60 * minutes
    return None


def _moment(given: str) -> float:
    try:
        moment = float(given)
    except ValueError:
        moment = math.nan
    if not math.isfinite(moment):
        raise UserError(f"{VARIABLE} is '{given}', which is not a moment in Unix seconds; give a number or unset it")
    return moment


def _end_in_slurm(environment: Mapping[str, str]) -> float | None:
    known = environment.get("SLURM_JOB_END_TIME", "")
    if known.isdigit():
        return float(known)
    command = ["squeue", "--noheader", "--jobs", environment["SLURM_JOB_ID"], "--format", "%e"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
        return datetime.fromisoformat(answer).timestamp()
    except (OSError, subprocess.SubprocessError, ValueError):
        return None  # no limit, or nobody to ask


class Clock:
    """Watches the end of the job's time.

    Parameters
    ----------
    end
        Unix seconds; None: no end.
    reserve
        Seconds that are kept for the end of the process; default: a twentieth of the time that is left now, between 10 seconds and 5 minutes.
    """

    def __init__(self, end: float | None, reserve: float | None = None) -> None:
        self.end = end
        left = (end - time.time()) if end is not None else 0.0
        self.reserve = min(300.0, max(10.0, left / 20)) if reserve is None else reserve
        self.longest, self._since = 0.0, time.monotonic()

    @classmethod
    def of_this_job(cls) -> Clock:
        """The clock of the job that this process belongs to."""
        return cls(end_of_job(os.environ, None))

    def start(self) -> None:
        """A piece of work begins."""
        self._since = time.monotonic()

    def piece_done(self) -> None:
        """A piece of work has ended, and another begins."""
        now = time.monotonic()
        self.longest, self._since = max(self.longest, now - self._since), now

    def is_over(self) -> bool:
        """Whether there is no time for another piece of work as long as the longest so far, and for saving it."""
        return self.end is not None and self.end - time.time() < self.reserve + 2 * self.longest

    def check(self, what: str) -> None:
        """End a stage whose finished pieces are all on disk.

        Raises
        ------
        OutOfTime
            If there is no time for another piece.
        """
        if self.is_over():
            raise OutOfTime(out_of_time(what))


def out_of_time(what: str) -> str:
    """The sentence of a job that stops before it is killed."""
    return f"{what}: stopped before the end of the job's wall time; everything so far is saved, and the same command goes on from there"
