"""Tables of the report: time and memory, provenance, what is said of titles and sizes."""

from __future__ import annotations

from typing import Any

from simlm.config import Experiment
from simlm.context import Context
from simlm.files import read_manifest
from simlm.metering import sentence
from simlm.paths import Paths
from simlm.records.stages import Stage, read_benchmark


def is_small(context: Context) -> bool:
    """Whether the evaluated models are far below the paper's 12 layers of width 768, and so its margins out of reach.

    The trained models' own ``config.json`` counts; where there is none yet, the sizes in the configuration.
    """
    experiment, sizes = context.experiment, []
    if not any(experiment.system(name).format for name in experiment.evaluate.systems):
        return False
    for name in experiment.evaluate.systems:
        file = context.paths.model(name) / "config.json"
        if file.exists():
            shape = read_manifest(file, "the configuration of a model", f"simlm train --model {name}", {})
            sizes += [shape["hidden_size"] * shape["num_hidden_layers"]] if {"hidden_size", "num_hidden_layers"} <= shape.keys() else []
    sizes = sizes or [model.size.hidden * model.size.layers for model in experiment.models.values() if getattr(model, "size", None) is not None]
    return bool(sizes) and max(sizes) < 768 * 6


def titles_used(experiment: Experiment, with_title: int | None = None) -> str:
    """Which titles the passages have: a switch that moves the numbers, and so is shown at every table.

    ``with_title`` is the count of passages that have one, if it is known.
    """
    corpus = experiment.corpus
    if with_title == 0:
        return "no titles"
    if hasattr(corpus, "titles"):
        text_alone = ", BM25 on the text alone" if corpus.titles != "none" and not experiment.bm25.titles else ""
        return "the collection's own titles" if corpus.titles == "none" else f"titles: {corpus.titles}, from {corpus.title_dataset}{text_alone}"
    if hasattr(corpus, "title"):
        return {"name": "titles: the qualified name", "module": "titles: the module's path", "none": "no titles"}[corpus.title]
    return "the collection's own titles"


AFTERWARDS = ("report", "track", "enforce_gate")
"""Jobs that run after the page is written (or are its writing)."""


def without_record(paths: Paths, stages: list[Stage]) -> list[Stage]:
    """Jobs that Snakemake measured and that leave no record, such as the writing of the configuration."""
    found = []
    for file in sorted((paths.root / "benchmarks").glob("*.jsonl")):
        if not paths.record(file.stem).exists() and file.stem not in AFTERWARDS:
            found.append(Stage(file.stem, {}, benchmark=read_benchmark(file)))
    return [stage for stage in found if stage.benchmark]


def _span(stage: Stage) -> tuple[float, float]:
    """First and last second of a job; a record begins after its process has started, which Snakemake's measurement includes."""
    start, end = (moment / 1000 for moment in stage.times())
    return min(start, end - stage.seconds), end


def busy_seconds(stages: list[Stage]) -> float:
    """Time in which at least one job was running: what a run took, without the pauses between its sittings."""
    total, end = 0.0, 0.0
    for start, stop in sorted(_span(stage) for stage in stages):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def resource_rows(stages: list[Stage]) -> list[dict[str, Any]]:
    """Time and memory per stage; the shards of one encoding are one row (times added, the largest memory)."""
    rows: dict[str, dict[str, Any]] = {}
    for stage in stages:
        name = f"{stage.kind}.{stage.subject}" if stage.subject else stage.kind
        row = rows.setdefault(name, {"stage": name, "jobs": 0, "seconds": 0.0, "cpu": 0.0, "memory": 0.0, "measured": True})
        row["jobs"] += 1
        row["seconds"] += stage.seconds
        row["cpu"] += stage.cpu_seconds or 0.0
        row["memory"] = max(row["memory"], stage.peak_memory_mib or 0.0)
        row["measured"] &= bool(stage.benchmark)
    return list(rows.values())


def speeds(stages: list[Stage]) -> dict[str, str]:
    """How busy the device was in trainings, encodings and scorings, in words; of the shards of an encoding the one that took longest speaks."""
    found: dict[str, str] = {}
    for stage in sorted(stages, key=lambda stage: stage.seconds):
        if said := sentence(stage.record.get("metrics", {})):
            found[f"{stage.kind}.{stage.subject}"] = said
    return {name: found[name] for stage in stages if (name := f"{stage.kind}.{stage.subject}") in found}


def duration(seconds: float) -> str:
    """Seconds as people read them.

    >>> duration(4.26), duration(75), duration(7500)
    ('4.3 s', '1 min 15 s', '2 h 05 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def leaves(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A manifest as key and text, nested keys joined by dots.

    >>> leaves({"a": {"b": 1}, "c": ["x", "y"]})
    [('a.b', '1'), ('c', 'x, y')]
    """
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, f"{prefix}.{key}" if prefix else str(key))]
    if isinstance(value, list):
        return [(prefix, ", ".join(map(str, value[:40])) + (" …" if len(value) > 40 else ""))]
    return [(prefix, f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))]
