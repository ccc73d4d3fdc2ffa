"""What the stages of an experiment left behind: records, curves, measurements. Read by the mirror and by the report."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from simlm.config import Experiment
from simlm.config.jobs import STAGES, Job, job_of, shards_of
from simlm.errors import UserError
from simlm.files import read_manifest, sha256_text
from simlm.paths import Paths

ORDER = list(STAGES)


SHAPE = {"stage": str, "key": str, "settings": dict, "inputs": dict, "outputs": dict, "metrics": dict, "notes": dict, "start": str, "end": str}
"""What a record must hold for the mirror and the report."""


@dataclass(frozen=True)
class Stage:
    """One stage that has run.

    Attributes
    ----------
    name
        Such as ``train.simlm``.
    record
        Content of ``stages/<name>.json``.
    history
        Lines of a training's curve, each with ``step``; empty for other stages.
    benchmark
        Last line of Snakemake's measurements, or empty.
    """

    name: str
    record: dict[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)
    benchmark: dict[str, Any] = field(default_factory=dict)

    @property
    def job(self) -> Job:
        """Which job it was."""
        return job_of(self.name)

    @property
    def kind(self) -> str:
        """The stage without its model: ``train``."""
        return self.job.stage

    @property
    def subject(self) -> str:
        """The model or system that the stage is about; empty when there is none."""
        return self.job.name or ""

    @property
    def digest(self) -> str:
        """Changes whenever anything of the stage changes, its start and end included."""
        return sha256_text(json.dumps([self.record, self.history, self.benchmark], sort_keys=True))[:32]

    @property
    def seconds(self) -> float:
        """Wall time: Snakemake's measurement, or else the record's."""
        return number(self.benchmark.get("s")) or number(self.record.get("seconds")) or 0.0

    @property
    def peak_memory_mib(self) -> float | None:
        """Largest resident memory: the larger of Snakemake's samples (with children) and the record's own."""
        found = [number(self.benchmark.get("max_rss")), number(self.record.get("peak_memory_mib"))]
        return max((value for value in found if value), default=None)

    @property
    def cpu_seconds(self) -> float | None:
        """Processor time, if Snakemake measured it."""
        return number(self.benchmark.get("cpu_time"))

    def times(self) -> tuple[int, int]:
        """Start and end in milliseconds since 1970."""
        start, end = (datetime.fromisoformat(self.record[key]).timestamp() for key in ("start", "end"))
        return int(start * 1000), int(end * 1000)


def number(value: Any) -> float | None:
    """``value`` as a float; None for what is no number (Snakemake writes ``NA`` for jobs too short to measure).

    >>> number("NA"), number(3), number(True), number("2.5")
    (None, 3.0, None, 2.5)
    """
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def read_stages(experiment: Experiment, paths: Paths) -> list[Stage]:
    """All stages of the present configuration that have a record, in the order of the chain.

    Records of models that are no longer in the graph, of another number of shards, or of other settings of a
    model are left out: they belong to an earlier configuration of the same name.

    Raises
    ------
    UserError
        If a record is not readable.
    """
    stages = []
    for path in sorted((paths.root / "stages").glob("*.json")):
        record = read_manifest(path, "the record of a stage", f"the stage {path.stem}", SHAPE)
        _check_times(path, record)
        name = record["stage"]
        stage = Stage(name, record, _history(paths, name), read_benchmark(paths.benchmark(name)))
        if _belongs(stage, experiment):
            stages.append(stage)
    return sorted(stages, key=lambda stage: (stage.record.get("start", ""), ORDER.index(stage.kind) if stage.kind in ORDER else len(ORDER), stage.name))


def _check_times(path: Path, record: dict[str, Any]) -> None:
    try:
        for key in ("start", "end"):
            datetime.fromisoformat(record[key])
    except ValueError:
        raise UserError(f"{path}: '{key}' is {record[key]!r}, which is no time; delete it and run the stage {path.stem} again") from None


def cautions(stages: list[Stage]) -> list[str]:
    """What the stages want the reader of the figures to know."""
    return [sentence for stage in stages for sentence in stage.record.get("notes", {}).get("cautions", [])]


def elsewhere(stages: list[Stage]) -> dict[str, str]:
    """Training → how its versions, processor and commit differ from those of the newest stage, which stand for the experiment; only where they do."""
    newest = max(stages, key=lambda stage: stage.record.get("end", ""), default=None)
    if newest is None:
        return {}
    now, found = _circumstances(newest), {}
    for stage in stages:
        then = _circumstances(stage)
        differing = [f"{name} {then[name]} instead of {now[name]}" for name in then if name in now and then[name] != now[name]]
        if stage.kind == "train" and differing:
            found[stage.name] = ", ".join(differing)
    return found


def _circumstances(stage: Stage) -> dict[str, str]:
    record = stage.record
    hardware, git = record.get("hardware") or {}, record.get("git") or {}
    found = {**(record.get("environment") or {}), **{name: hardware[name] for name in ("cpu", "gpu", "instructions") if name in hardware}}
    if git.get("commit"):
        found["commit"] = str(git["commit"])[:12] + (" with changes" if git.get("dirty") else "")
    return {name: str(value) for name, value in found.items()}


def _belongs(stage: Stage, experiment: Experiment) -> bool:
    if (
        stage.kind in ("train", "import_model", "encode", "build_index", "search_index", "score_teacher", "rerank", "fuse")
        and stage.subject not in experiment.systems
    ):
        return False
    if stage.kind == "encode" and stage.job.part not in shards_of(experiment, stage.subject):
        return False
    if stage.kind in ("train", "import_model"):
        block = experiment.models[stage.subject].model_dump(mode="json", exclude={"seed"})
        return all(block[key] == value for key, value in stage.record.get("settings", {}).items() if key in block)
    return True


def _history(paths: Paths, name: str) -> list[dict[str, Any]]:
    kind, _, model = name.partition(".")
    if kind != "train":
        return []
    file = paths.history(model)
    lines = json_lines(file)
    for number, line in enumerate(lines, 1):
        if not isinstance(line.get("step"), int):
            raise UserError(f"{file}:{number} is no line of a training's curve (it has no step); delete the file, or train '{model}' again")
    return lines


def read_benchmark(path: Path) -> dict[str, Any]:
    """The last measurement of a benchmark file, or an empty mapping."""
    lines = json_lines(path)
    return lines[-1] if lines else {}


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Objects of a JSON-lines file up to the first torn line; none when it does not exist."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            break
        if isinstance(value, dict):
            found.append(value)
    return found
