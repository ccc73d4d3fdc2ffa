"""Which job makes a file, which jobs lie before one, and which rules a stage needs: the inputs and outputs of all stages, turned around."""

from __future__ import annotations

from pathlib import Path

from simlm.config.experiment import Experiment
from simlm.config.graph import minable
from simlm.config.inputs import inputs_of, outputs_of
from simlm.config.jobs import MINED, STAGES, Job, names_of, shards_of
from simlm.config.kinds.bm25 import LEXICAL
from simlm.paths import Paths


def makers(experiment: Experiment, paths: Paths) -> dict[Path, Job]:
    """File → the job that writes it, for everything that the experiment can be asked for."""
    found: dict[Path, Job] = {}
    for stage in STAGES:
        for name in names_of(experiment, stage) if STAGES[stage] else [None]:
            for part in parts_of(experiment, stage, name):
                job = Job(stage, name, part)
                for file in outputs_of(experiment, paths, job):
                    found.setdefault(file, job)
    return found


def before(experiment: Experiment, paths: Paths, *given: Job) -> list[Job]:
    """The jobs whose results reach the given ones, near or far; those themselves are not among them."""
    made_by, found, waiting = makers(experiment, paths), dict[Job, None](), list(given)
    while waiting:
        for file in inputs_of(experiment, paths, waiting.pop()).values():
            job = made_by.get(file)
            if job and job not in found and job not in given:
                found[job] = None
                waiting.append(job)
    return list(found)


def parts_of(experiment: Experiment, stage: str, name: str | None) -> list[str | None]:
    """Parts in which a stage can be asked for a system; one, None, for the whole."""
    if stage in ("search_bm25", "search_index", "fuse"):
        return [None, MINED] if minable(experiment, name or LEXICAL) else [None]
    return list(shards_of(experiment, name)) if stage == "encode" and name else [None]


def patterns(experiment: Experiment, paths: Paths, stage: str, wildcard: str = "{model}") -> list[tuple[str | None, list[str | None], list[Path]]]:
    """Rules that a stage needs, as (part, systems, outputs): outputs of a rule have one pattern, but systems may write different ones.

    The outputs hold ``wildcard`` in the place of the system's name.
    """
    groups: dict[tuple[str | None, tuple[Path, ...]], list[str | None]] = {}
    for name in names_of(experiment, stage) if STAGES[stage] else [None]:
        for part in parts_of(experiment, stage, name):
            outputs = tuple(outputs_of(experiment, paths, Job(stage, name, part), called=name and wildcard))
            groups.setdefault((part, outputs), []).append(name)
    return [(part, names, list(outputs)) for (part, outputs), names in groups.items()]
