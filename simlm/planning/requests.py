"""Memory and wall time that a rule asks a batch system for: the plan's figures with room for what it gets wrong."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from simlm.config import Experiment
from simlm.config.jobs import Job
from simlm.config.resources import asked
from simlm.errors import UserError
from simlm.paths import Paths
from simlm.planning.costs import load_costs
from simlm.planning.counts import Counts, count, unknown
from simlm.planning.estimate import MIB, Planner

MEMORY, MEMORY_ROOM = 1.5, 1000
"""Factor and MiB on top of the planned memory: single stages are off by up to a factor of two, small ones more."""
TIME, TIME_ROOM = 3, 30
"""Factor and minutes on top of the planned wall time: another machine may be half as fast, and busy."""
LONGEST = 2880
"""Most minutes that are asked for: what many clusters allow. A training that needs more goes on in its next job."""
DOWNLOAD = 1440
"""Minutes for downloads, which depend on a network of which nothing is known."""


class Request(NamedTuple):
    """What a job asks for: memory in MiB, wall time in minutes."""

    memory: int
    minutes: int


class Requests:
    """Requests of an experiment's jobs; nothing is counted before the first is asked for."""

    def __init__(self, experiment: Experiment, paths: Paths) -> None:
        self.experiment, self.paths = experiment, paths

    @cached_property
    def planner(self) -> Planner:
        """The plan on the machine that the constants were measured on."""
        costs = load_costs()
        return Planner(self.experiment, self.paths, self._counts(), costs, costs.accelerator(None)[1])

    def _counts(self) -> Counts:
        try:
            return count(self.experiment, self.paths)
        except UserError:
            # A file that is missing is the stage's to report, not the scheduler's.
            return unknown(self.experiment)

    def of(self, job: Job) -> Request:
        """Memory and time of one job."""
        planned, own = self.planner.job(job), asked(self.experiment, job)
        memory = MEMORY * planned.memory / MIB * max(1, own.processes if job.stage == "train" else 1) + MEMORY_ROOM
        minutes = DOWNLOAD if job.stage == "download" else TIME * planned.wall(own) / 60 + TIME_ROOM
        return Request(500 * -(-int(memory) // 500), min(LONGEST, 10 * -(-int(minutes) // 10)))
