"""How long an experiment takes from its first job to its last: the jobs of the plan, put on the cores and GPUs at hand."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple

from simlm.config import Experiment
from simlm.config.graph import node_of, trainings_waiting
from simlm.config.inputs import inputs_of, outputs_of
from simlm.config.jobs import Job, jobs
from simlm.config.resources import Asked, asked
from simlm.planning.estimate import Planner


class Timeline(NamedTuple):
    """Seconds from start to end, and seconds of the longest chain of jobs that wait for one another."""

    wall: float
    chain: float


def needs(planner: Planner) -> dict[Job, set[Job]]:
    """All jobs with those that they wait for: the ones that write what they read."""
    experiment, paths = planner.experiment, planner.paths
    every = [*jobs(experiment), Job("report"), Job("track")]
    writers = {file: job for job in every for file in (*outputs_of(experiment, paths, job), paths.record(job.label))}
    return {job: {writers[file] for file in inputs_of(experiment, paths, job).values() if file in writers} - {job} for job in every}


def grants_of(planner: Planner, every: Iterable[Job], cores: int, gpus: int) -> dict[Job, Asked]:
    """Threads and GPUs that each job is given: what it asks for, or all there is."""
    own = {job: asked(planner.experiment, job) for job in every}
    return {job: wanted._replace(threads=min(wanted.threads, cores), gpus=min(wanted.gpus, gpus)) for job, wanted in own.items()}


def timeline(planner: Planner, cores: int, gpus: int) -> Timeline:
    """Simulate the workflow from its first job on, every job as long as planned. A job that asks for more than there is gets all there is."""
    waits = needs(planner)
    grants = grants_of(planner, waits, cores, gpus)
    return simulate(planner.experiment, waits, {job: planner.job(job).wall(grants[job]) for job in waits}, grants, cores, gpus)


def simulate(experiment: Experiment, waits: dict[Job, set[Job]], lasts: dict[Job, float], grants: dict[Job, Asked], cores: int, gpus: int) -> Timeline:
    """Put jobs on cores and GPUs: one starts when what it waits for is done and its threads and GPUs are free.

    Of several that could start, the one for which the longer chain of trainings waits does, as in the workflow.

    Parameters
    ----------
    waits
        Job → those of the others that it waits for.
    lasts
        Seconds of each.
    grants
        What each holds while it runs; no more than there is.
    """
    chain: dict[Job, float] = {}
    waiting = trainings_waiting(experiment)
    rank = {job: waiting.get(node_of(job.name), 0) if job.name else len(waits) for job in waits}
    open_jobs, running, now, done = dict(waits), [], 0.0, set()
    while open_jobs or running:
        ready = sorted((job for job, needed in open_jobs.items() if needed <= done), key=lambda job: -rank[job])
        for job in ready:
            own = grants[job]
            if own.threads <= cores and own.gpus <= gpus:
                cores, gpus = cores - own.threads, gpus - own.gpus
                heapq.heappush(running, (now + lasts[job], job.label, job))
                del open_jobs[job]
        now, _, ended = heapq.heappop(running)
        cores, gpus = cores + grants[ended].threads, gpus + grants[ended].gpus
        chain[ended] = lasts[ended] + max((chain[job] for job in waits[ended]), default=0.0)
        done.add(ended)
    return Timeline(now, max(chain.values(), default=0.0))
