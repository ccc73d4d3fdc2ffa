"""What a workflow prints while it runs: after every job one line with the time to go; after a failure the sentence, last.

A handler for the records that Snakemake logs, which reads their attributes and knows nothing else of Snakemake
(``workflow/rules/terminal.smk`` puts it in place).
"""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO

from simlm.errors import UserError
from simlm.paths import Paths
from simlm.planning.remaining import Remaining
from simlm.progress import span
from simlm.watching.progress import Progress, Watched, last_line

SAID_HERE = ("run_info", "job_info", "job_started", "job_finished", "progress", "shellcmd", "resources_info", "job_error")
"""Events of Snakemake that the line after a job stands for."""
NOISE = (
    "Select jobs to execute",
    "Execute ",
    "Building DAG of jobs",
    "Using shell:",
    "Updating ",
    "Storing output in storage",
    "Removing output files of failed job",
    "Shutting down, this might take some time",
    "Exiting because a job execution failed",
    "WorkflowError:\nAt least one job did not complete successfully",
    "Complete log",
    "Elapsed time:",
    "Conda environments: ignored",
    "Singularity containers: ignored",
    "Assuming unrestricted shared filesystem usage",
)
"""Beginnings of messages that tell a user nothing; all of them stay in Snakemake's own log file."""
SOON, LATEST = 0.2, 5.0
"""Seconds after the start of the next job, and after its own end, when the line of a job is printed: it names the log of what runs now."""
TAIL = 20
"""Lines of a log that are shown where its last one is no sentence of ours."""


def is_noise(record: logging.LogRecord) -> bool:
    """Whether Snakemake's own handler should leave a record out."""
    return str(getattr(record, "event", None)) in SAID_HERE or str(record.msg).lstrip().startswith(NOISE)


def clock(seconds: float) -> str:
    """A time as a clock shows it.

    >>> clock(65), clock(3700)
    ('1:05', '1:01:40')
    """
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


class Terminal(logging.Handler):
    """Prints the lines and keeps :class:`~simlm.watching.progress.Progress` up to date.

    Parameters
    ----------
    remaining
        Makes the forecast when the first job starts.
    nothing
        Called where there is nothing to be done.
    """

    def __init__(self, paths: Paths, remaining: Callable[[], Remaining], nothing: Callable[[], None], stream: TextIO | None = None) -> None:
        super().__init__()
        self.paths, self._make, self._nothing, self.stream = paths, remaining, nothing, stream
        self.progress: Progress | None = None
        self._remaining: Remaining | None = None
        self._labels: dict[int, str] = {}
        self._ended: list[str] = []

    def begin(self, jobs: dict[str, str], cores: int, gpus: int) -> None:
        """Note what will run, before the first job starts.

        Parameters
        ----------
        jobs
            Label → what the job does, for people.
        """
        self.progress = Progress(time.time(), cores, gpus, jobs={label: Watched(what) for label, what in jobs.items()})
        how = ""
        try:
            self._remaining = self._make()
            self.progress.before = self._remaining.before or {}
            known = sum(label in self.progress.before for label in jobs)
            source = "the times of the last run" if known == len(jobs) else "the plan" if not known else "the last run and the plan"
            how = f", about {span(self.progress.to_go(self._remaining))} by {source}"
        except UserError:
            self._remaining = None  # what it does not find is for the job to report that needs it
        count = f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'}"
        self.say(f"{self.paths.root}: {count} on {cores} {'core' if cores == 1 else 'cores'}{how}")
        self.progress.write(self.paths)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event = str(getattr(record, "event", None))
            if event == "job_info":
                self._started(record)
            elif event == "job_finished":
                self._finished(record.job_id)
            elif event == "job_error":
                self._failed(record)
            elif event == "group_error":
                for about in record.job_error_info:
                    self._fail(self._labels.get(about["jobid"], about["rule_name"]), "", about["log"])
            elif str(record.msg).startswith("Nothing to be done"):
                self._nothing()
        except Exception:
            self.handleError(record)

    def _started(self, record: Any) -> None:
        if not record.rule_msg or self.progress is None:
            return  # the target, which does nothing
        label = Path(record.log[0]).stem if record.log else record.rule_name
        self._labels[record.jobid] = label
        job = self.progress.jobs.setdefault(label, Watched(record.rule_msg))
        job.what, job.log, job.started, job.ended, job.failed = record.rule_msg, (record.log or [""])[0], time.time(), None, ""
        self.progress.write(self.paths)
        if self._ended:
            self._say_ended_in(SOON)

    def _finished(self, jobid: int) -> None:
        label = self._labels.get(jobid)
        if label is None or self.progress is None:
            return
        job = self.progress.jobs[label]
        job.ended = time.time()
        self.progress.write(self.paths)
        if label == "prepare_corpus" and self._remaining:
            self._remaining.count_again()
        self._ended.append(f"{job.what} {clock(job.seconds)}")
        self._say_ended_in(LATEST)

    def _say_ended_in(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self._say_ended)
        timer.daemon = True
        timer.start()

    def _say_ended(self) -> None:
        """A line for every job that has ended since the last ones."""
        with self.lock:
            ended, self._ended = self._ended, []
            for number, what in enumerate(ended, 1):
                if self.progress is not None:
                    self.say(line(self.progress, len(self.progress.done) - len(ended) + number, self._to_go(), what, self._width()))

    def _to_go(self) -> float | None:
        if self.progress is None or self._remaining is None:
            return None
        try:
            return self.progress.to_go(self._remaining)
        except UserError:
            return None

    def _failed(self, record: Any) -> None:
        self._fail(self._labels.get(record.jobid, record.rule_name), record.rule_msg or "", record.log)

    def _fail(self, label: str, message: str, log: Iterable[str]) -> None:
        if self.progress is None:
            return
        job = self.progress.jobs.setdefault(label, Watched(label))
        job.log, job.ended = job.log or next(iter(log), ""), time.time()
        job.failed = last_line(job.log) or message or "it left no word in its log"
        self.progress.write(self.paths)
        self._say_ended()
        self.say(f"{label} failed after {span(job.seconds)}" + (f" ({message})" if message else "") + f": {job.log}")

    def end(self) -> str:
        """Note the end; returns the sentence with the wall time."""
        if self.progress is None:
            return ""
        self._say_ended()
        self.progress.ended = time.time()
        self.progress.write(self.paths)
        jobs = len(self.progress.done)
        return f"{jobs} {'job' if jobs == 1 else 'jobs'} in {span(self.progress.ended - self.progress.started)}"

    def stop(self) -> None:
        """Say why the workflow has stopped, the cause in the last line."""
        sentence = self.end()
        if self.progress is None or not self.progress.failed:
            return
        job = self.progress.jobs[self.progress.failed[0]]
        if not job.failed.startswith("simlm ") and job.log:
            self.say(f"\nThe end of {job.log}:\n" + "\n".join(f"  {text}" for text in _tail(job.log)))
        total = len(self.progress.jobs)
        self.say(f"\nStopped: {sentence} done, {total - len(self.progress.done)} of {total} left; the same command goes on from there.\n{job.failed}")

    def say(self, text: str) -> None:
        print(text, file=self.stream or sys.stderr, flush=True)

    def _width(self) -> int:
        stream = self.stream or sys.stderr
        return shutil.get_terminal_size().columns if stream.isatty() else 1000


def line(progress: Progress, done: int, to_go: float | None, ended: str, width: int) -> str:
    """Jobs done, time gone, time to go, what has just ended where there is room, and the log of what runs."""
    total = len(progress.jobs)
    left = "" if to_go is None or not (progress.waiting or progress.running) else f"  {clock(to_go)} to go"
    begin = f"{done:>{len(str(total))}}/{total}  {clock(time.time() - progress.started)} gone{left}"
    logs = [progress.jobs[label].log for label in progress.running if progress.jobs[label].log]
    now = f"  → {logs[0]}" + (f" +{len(logs) - 1}" if len(logs) > 1 else "") if logs else ""
    whole = f"{begin}  {ended}{now}"
    return whole if len(whole) <= width or not now else begin + now


def _tail(log: str) -> list[str]:
    try:
        return Path(log).read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
    except OSError:
        return []
