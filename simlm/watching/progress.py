"""How far a workflow is: which jobs have ended, run and wait, kept in a small file that other terminals read."""

from __future__ import annotations

import dataclasses
import os
import re
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from simlm.errors import UserError
from simlm.files import peek_json, write_json
from simlm.paths import Paths
from simlm.planning.remaining import Remaining

WHOLE = re.compile(rb"^(?:\S+ \d+/\d+|(?:Encoding passages|Mining negatives from [^:\n]+): [\d,]+ of [\d,]+) \((\d{1,3})%\)", re.MULTILINE)
"""How trainings, embeddings and minings say their share in their logs. What else has a percentage is a part of a job (the texts are tokenized, one of
several splits is searched) and says nothing of the whole."""
TAIL = 4096
"""Bytes at the end of a log in which the newest share is looked for."""


@dataclass
class Watched:
    """One job of a workflow.

    Attributes
    ----------
    what
        What it does, for people (``Training distilled``).
    log
        Its log, or an empty text.
    started, ended
        Seconds since 1970, where it has come so far.
    failed
        Why it ended without its results; empty otherwise.
    """

    what: str
    log: str = ""
    started: float | None = None
    ended: float | None = None
    failed: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended or time.time()) - (self.started or time.time())


@dataclass
class Progress:
    """All jobs of one run of a workflow, by label.

    Attributes
    ----------
    process, host
        The workflow itself.
    before
        Label → seconds that the job took the last time, of jobs with the settings of then.
    """

    started: float
    cores: int
    gpus: int
    process: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)
    jobs: dict[str, Watched] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    ended: float | None = None

    @property
    def done(self) -> list[str]:
        """Labels of the jobs that have their results, in the order of their ends."""
        return sorted((label for label, job in self.jobs.items() if job.ended and not job.failed), key=lambda label: self.jobs[label].ended or 0)

    @property
    def running(self) -> list[str]:
        """Labels of the jobs that run, in the order of their starts."""
        return sorted((label for label, job in self.jobs.items() if job.started and not job.ended), key=lambda label: self.jobs[label].started or 0)

    @property
    def waiting(self) -> list[str]:
        return [label for label, job in self.jobs.items() if not job.started]

    @property
    def failed(self) -> list[str]:
        return [label for label, job in self.jobs.items() if job.failed]

    @property
    def alive(self) -> bool:
        """Whether the workflow still runs; of another machine's it is believed."""
        if self.ended:
            return False
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True

    def to_go(self, remaining: Remaining) -> float:
        """Seconds to the end of the last job, by the jobs that have ended and what the logs of the others say."""
        now = time.time()
        running = {label: (now - (self.jobs[label].started or now), share_done(self.jobs[label].log)) for label in self.running}
        return remaining.seconds(self.waiting, running, {label: self.jobs[label].seconds for label in self.done})

    def write(self, paths: Paths) -> None:
        """Keep it where :func:`read_progress` finds it."""
        write_json(progress_file(paths), dataclasses.asdict(self))


def progress_file(paths: Paths) -> Path:
    """Where the last workflow of an experiment says how far it is."""
    return paths.root / ".config" / "progress.json"


def read_progress(paths: Paths) -> Progress:
    """How far the last workflow of an experiment is, or was when it ended.

    Raises
    ------
    UserError
        If none has run, or the file is not one of ours.
    """
    file = progress_file(paths)
    if not file.exists():
        raise UserError(f"no workflow of {paths.root} has said how far it is; `snakemake --cores 2` starts one, and `simlm summary` shows what is there")
    try:
        values = peek_json(file)
        return Progress(**{**values, "jobs": {label: Watched(**job) for label, job in values["jobs"].items()}})
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{file} is not what a workflow writes; delete it, the next one writes it again") from None


def share_done(log: str) -> float | None:
    """The newest share of its work that a job's log speaks of, between 0 and 1.

    >>> share_done("no-such.log") is None
    True
    """
    try:
        with open(log, "rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - TAIL))
            found = WHOLE.findall(stream.read())
    except (OSError, ValueError):
        return None
    return min(1.0, int(found[-1]) / 100) if found else None


def last_line(log: str) -> str:
    """The last line of a log that says something."""
    try:
        with open(log, "rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - TAIL))
            lines = stream.read().decode("utf-8", "replace").replace("\r", "\n").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
