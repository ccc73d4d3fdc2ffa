"""Which results belong to a configuration: every record that is there, compared with what the job would state now.

Snakemake remembers settings by itself, but its memory can be lost, and stages run by hand are not in it. The records are: settings, code and
the digests of what was read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simlm.config.experiment import Experiment
from simlm.config.inputs import Planned, plan_of
from simlm.config.jobs import Job, jobs
from simlm.config.stages import canonical
from simlm.digests import digests_below
from simlm.errors import UserError
from simlm.files import is_sealed, peek_json
from simlm.paths import Paths

AFRESH = ("download",)
"""Stages that look themselves at what is there, and that nothing but missing files makes run again."""


@dataclass(frozen=True)
class Misfit:
    """A record that is not what the job would state now.

    Attributes
    ----------
    job
        The job that the record is about.
    reason
        ``settings``, ``code``, ``inputs`` or ``record``.
    what
        Which of them.
    """

    job: Job
    reason: str
    what: str = ""

    def __str__(self) -> str:
        return f"{self.job.label} ({self.reason}{f': {self.what}' if self.what else ''})"


def misfits(experiment: Experiment, paths: Paths, shards: int | None = None, only: Iterable[Job] | None = None, code: bool = True) -> list[Misfit]:
    """The records that do not belong to a configuration; a record that is not there is none of them.

    Parameters
    ----------
    shards
        Takes the place of the experiment's ``encoding.shards``.
    only
        Jobs to look at; default: all.
    code
        Compare the fingerprints of the code too.
    """
    found = []
    for job in jobs(experiment, shards) if only is None else only:
        file = paths.record(job.label)
        if job.stage in AFRESH or not file.exists():
            continue
        reason = _misfit(plan_of(experiment, paths, job, shards, code), peek_json(file), paths, code)
        if reason:
            found.append(Misfit(job, *reason))
    return found


def require_belonging(experiment: Experiment, paths: Paths, only: Iterable[Job] | None = None) -> None:
    """Refuse results of other settings or inputs; that the code has changed since is no reason for it.

    Raises
    ------
    UserError
        With the names of the stages.
    """
    found = misfits(experiment, paths, only=only, code=False)
    if found:
        raise UserError(
            f"{paths.root} holds results that do not belong to this configuration: {', '.join(map(str, found))}; run the workflow or these stages again, "
            "or give the configuration that they were made with"
        )


def _misfit(plan: Planned, record: dict[str, Any], paths: Paths, code: bool) -> tuple[str, str] | None:
    settings, inputs = record.get("settings"), record.get("inputs")
    if not isinstance(settings, dict) or not isinstance(inputs, dict):
        return "record", "cannot be read"
    if not is_sealed(record):
        return "record", "is not what its stage wrote"
    now = json.loads(canonical(plan.settings))
    if settings != now:
        return "settings", ", ".join(key for key in sorted({*settings, *now}) if settings.get(key, ...) != now.get(key, ...))
    if code and record.get("code") != plan.code:
        return "code", ""
    changed = [name for name, about in inputs.items() if not _is_same(about, plan.inputs.get(name), paths)]
    outside = {name for name, file in plan.inputs.items() if not file.is_relative_to(paths.root)}
    # A record that states no inputs is an earlier version's; sources and caches may be gone where the results were copied to.
    added, there = sorted(outside - inputs.keys()) if inputs else [], {_source(name, str(plan.inputs[name])) for name in outside}
    elsewhere = [name for name, about in inputs.items() if not _lies_below(about, record) and _source(name, str(about.get("path"))) in there]
    gone = sorted(set(elsewhere) - plan.inputs.keys())
    return ("inputs", _few([*changed, *added, *gone])) if changed or added or gone else None


def _is_same(about: Any, file: Path | None, paths: Paths) -> bool:
    """Whether an input is what was read; where it is not there any more, nothing says that it is not."""
    if file is None or not isinstance(about, dict) or not file.is_file():
        return True
    return digests_below(paths.root).of(file) == about.get("sha256")


def _source(name: str, path: str) -> str:
    """The field of the model outside the graph that an input belongs to, as in ``init/config.json``; nothing for files of the corpus, called by their paths."""
    return "" if name == path else name.partition("/")[0]


def _lies_below(about: Any, record: dict[str, Any]) -> bool:
    """Whether an input lay below the results, such as the shards that a search without an index reads."""
    return not isinstance(about, dict) or Path(str(about.get("path"))).is_relative_to(str(record.get("folder", "\0")))


def _few(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
