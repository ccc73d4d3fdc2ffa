"""Time to go of an experiment that runs: what the jobs took the last time, or the plan, put right by what has been measured since.

A job that ran before with the same settings is expected to take as long as then; any other, what the plan says. Both are corrected by
the jobs of this run that have ended (a machine may be busy, or twice as fast as the one of the plan's constants), and the jobs that
are left are put on the cores and GPUs in the order of the workflow, so that the longest chain counts and not the sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from simlm.config import Experiment
from simlm.config.jobs import Job
from simlm.config.stages import canonical, settings_of
from simlm.paths import Paths
from simlm.planning.estimate import Planner
from simlm.planning.requests import Requests
from simlm.planning.timeline import grants_of, needs, simulate
from simlm.records.stages import read_benchmark

LIKE = 1.0
"""Weight of the overall correction against the measured jobs of a stage, in jobs of that stage."""
HALF_LIFE = 0.1
"""Share of the run after which a job counts half: what else a machine has to do changes within minutes."""
SURE = 0.05
"""Weight of "as expected" against the jobs that have ended, as a share of the whole run: a first job of some seconds tells little of the machine."""
START = 30.0
"""Seconds from which on a job's own speed counts, more and more, beyond the share that it has done: before that its share says more of its start."""
HALF = 0.5
"""Share from which on a running job corrects the others as one that has ended does."""
LEAST = 0.1
"""What is left at least of a job that has taken longer than expected, as a share of the time that it has taken."""


@dataclass
class Expected:
    """Seconds that a job will take, before anything of this run is known, and whether an earlier run of it says so."""

    seconds: float
    measured: bool


@dataclass
class Remaining:
    """Foretells the end of a run; made before its first job starts, as benchmark files are overwritten by the jobs.

    Attributes
    ----------
    cores, gpus
        What the workflow may use at once.
    before
        Label → seconds that the job took the last time; read from the results unless given.
    """

    experiment: Experiment
    paths: Paths
    cores: int
    gpus: int
    before: dict[str, float] | None = None

    def __post_init__(self) -> None:
        if self.before is None:
            self.before = last_times(self.experiment, self.paths, self._jobs)

    @cached_property
    def _planner(self) -> Planner:
        return Requests(self.experiment, self.paths).planner

    @cached_property
    def _waits(self) -> dict[Job, set[Job]]:
        return needs(self._planner)

    @property
    def _jobs(self) -> list[Job]:
        return list(self._waits)

    @cached_property
    def expected(self) -> dict[str, Expected]:
        """Label → expectation, for every job of the experiment."""
        grants, before = grants_of(self._planner, self._jobs, self.cores, self.gpus), self.before or {}
        return {
            job.label: Expected(before[job.label], True) if job.label in before else Expected(self._planner.job(job).wall(grants[job]), False)
            for job in self._jobs
        }

    def count_again(self) -> None:
        """The corpus is there, and with it the numbers that the plan had assumed."""
        for name in ("_planner", "_waits", "expected"):
            self.__dict__.pop(name, None)

    def seconds(self, left: Iterable[str], running: dict[str, tuple[float, float | None]], ended: dict[str, float]) -> float:
        """Seconds until the last job ends.

        Parameters
        ----------
        left
            Labels of jobs that have not started.
        running
            Label → (seconds since its start, share of its work that is done where it says so).
        ended
            Label → seconds that it took, of the jobs that this run has done, in the order of their ends.
        """
        wholes = {label: self._whole(label, gone, share, ended) for label, (gone, share) in running.items() if label in self.expected}
        known = {**ended, **{label: wholes[label] for label in wholes if (running[label][1] or 0.0) >= HALF}}
        left, lasts = set(left), {}
        for job in self._jobs:
            if job.label in wholes:
                lasts[job] = max(0.0, wholes[job.label] - running[job.label][0])
            elif job.label in left:
                lasts[job] = self._corrected(job.label, known)
        waits = {job: {other for other in self._waits[job] if other in lasts} if job.label in left else set() for job in lasts}
        return simulate(self.experiment, waits, lasts, grants_of(self._planner, lasts, self.cores, self.gpus), self.cores, self.gpus).wall

    def _whole(self, label: str, gone: float, share: float | None, known: dict[str, float]) -> float:
        """Seconds that a running job will have taken: the more of it is seen, the more its own speed counts."""
        expected = max(self._corrected(label, known), (1 + LEAST) * gone)
        if not share:
            return expected
        own = max(share, (gone - START) / (gone + START))
        return own * gone / share + (1 - own) * expected

    def _corrected(self, label: str, known: dict[str, float]) -> float:
        """Expected seconds times what jobs with the same source of the expectation took, those of the same stage and the latest first."""
        own, total = self.expected[label], sum(expected.seconds for expected in self.expected.values())
        took_all = foretold_all = SURE * total
        took_alike = foretold_alike = later = 0.0
        for other, took in reversed(known.items()):
            expected = self.expected.get(other)
            if expected is None or expected.measured != own.measured:
                continue
            weight = 0.5 ** (later / (HALF_LIFE * total))
            took_all, foretold_all = took_all + weight * took, foretold_all + weight * expected.seconds
            if other.partition(".")[0] == label.partition(".")[0]:
                took_alike, foretold_alike = took_alike + weight * took, foretold_alike + weight * expected.seconds
            later += expected.seconds
        overall, prior = took_all / foretold_all, LIKE * own.seconds
        return own.seconds * (overall * prior + took_alike) / (prior + foretold_alike) if foretold_alike else own.seconds * overall


def last_times(experiment: Experiment, paths: Paths, every: Iterable[Job]) -> dict[str, float]:
    """Seconds that jobs took when they last ran with the settings that they have now; none where the corpus was another one."""
    found = {}
    for job in every:
        about = read_benchmark(paths.benchmark(job.label))
        settings = (about.get("params") or {}).get("settings") if isinstance(about.get("params"), dict) else None
        if isinstance(about.get("s"), (int, float)) and settings == canonical(settings_of(experiment, *job)):
            found[job.label] = float(about["s"])
    return found if "prepare_corpus" in found else {}
