"""What a system costs beside what it is worth: parameters, vectors, index, time per query, training, energy. All of it is read from the stages' files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from simlm.config import Experiment
from simlm.config.graph import node_of, training_needs
from simlm.config.kinds.bm25 import LEXICAL
from simlm.context import Context
from simlm.files import read_json
from simlm.models.size import parameters
from simlm.records.stages import Stage, number

WATTS_PER_CORE = 8.0
"""Of a busy core with its share of memory and power supply: server processors are sold with 200 to 360 W for 32 to 64 cores."""
WATTS_OF_GPU = {"H100": 700.0, "H200": 700.0, "A100": 400.0, "V100": 300.0, "L4": 72.0, "T4": 70.0}
"""Most power by a part of the accelerator's name, as its maker gives it; others count as :data:`OTHER_GPU`."""
OTHER_GPU = 300.0


@dataclass(frozen=True)
class Cost:
    """Costs of a system; None where the files do not say.

    Attributes
    ----------
    parameters
        Of all models that answer a query: a re-ranker's and those of the list that it sorts.
    dimension, vector_bytes
        Numbers of a passage's vector, and its bytes in the index.
    index_bytes
        Of all indexes that are asked.
    milliseconds
        Per query, as the workflow searched: whole splits at once, on the machine of the record, the start of the process included.
    training_seconds
        Of all trainings that the system needs, one after the other.
    watt_hours
        Estimate for those trainings: processor time by :data:`WATTS_PER_CORE`, and accelerators at full power.
    """

    system: str
    parameters: int | None
    dimension: int | None
    vector_bytes: float | None
    index_bytes: int | None
    milliseconds: float | None
    training_seconds: float | None
    watt_hours: float | None


def costs(context: Context, stages: list[Stage]) -> dict[str, Cost]:
    """Costs of the evaluated systems by name."""
    return {name: _cost(context, stages, name) for name in context.experiment.evaluate.systems}


def _cost(context: Context, stages: list[Stage], name: str) -> Cost:
    experiment, paths = context.experiment, context.paths
    asked = _reached([name], lambda one: experiment.system(one).reads_runs().values())
    models = [one for one in asked if one in experiment.systems and (experiment.system(one).encodes or experiment.system(one).scores)]
    trainings = [stage for stage in stages if stage.kind == "train" and stage.subject in _trained(experiment, asked)]
    trained = {stage.subject for stage in trainings}
    needed = {one for one in _trained(experiment, asked) if experiment.models[one].made_by == "train"}
    whole = needed <= trained
    index = _sum(_index_bytes(paths.bm25 if one == LEXICAL else paths.index(one)) for one in asked if one == LEXICAL or experiment.system(one).encodes)
    built = next((stage.record["metrics"] for stage in stages if stage.kind == "build_index" and stage.subject == name), {})
    dimension, vectors = number(built.get("dimension")), number(built.get("vectors"))
    own = _index_bytes(paths.index(name)) if experiment.system(name).encodes else None
    return Cost(
        name,
        _sum(parameters(paths.model(one)) for one in models),
        int(dimension) if dimension else None,
        own / vectors if own and vectors else None,
        index,
        _sum(_milliseconds(experiment, stages, one) for one in asked),
        sum(stage.seconds for stage in trainings) if whole and needed else None,
        sum(_watt_hours(stage) for stage in trainings) if whole and needed else None,
    )


def _reached(start: Iterable[str], follow: Callable[[str], Iterable[str]]) -> list[str]:
    """The names of ``start`` and all that can be reached from them."""
    found, waiting = dict.fromkeys(start), list(start)
    while waiting:
        new = [name for name in follow(waiting.pop()) if name not in found]
        found |= dict.fromkeys(new)
        waiting += new
    return list(found)


def _trained(experiment: Experiment, systems: list[str]) -> list[str]:
    """Models of the graph that must have been made before all of ``systems`` can answer."""

    def before(name: str) -> list[str]:
        model = experiment.models[name]
        runs = [node_of(one) for one in model.reads_runs().values()]
        mined = [node_of(one) for one in model.mined_from().values()]
        return [one for one in [*training_needs(experiment, name), *runs, *mined] if one in experiment.models]

    return _reached([node for name in systems if (node := node_of(name)) in experiment.models], before)


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum; None where a part is unknown or there is none."""
    found = list(values)
    return None if not found or None in found else sum(found)


def _index_bytes(folder: Path) -> int | None:
    """Bytes of an index: what its manifest says, or its files."""
    if not (folder / "manifest.json").exists():
        return None
    said = read_json(folder / "manifest.json", "the stage that builds the index").get("file")
    if isinstance(said, dict) and number(said.get("bytes")):
        return int(said["bytes"])
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


def _milliseconds(experiment: Experiment, stages: list[Stage], name: str) -> float | None:
    """Time of a system's own search by its queries; to that of a retriever the embedding of a text is added, which the search finds done."""
    stage_name = experiment.system(name).runs_by
    label = stage_name if name == LEXICAL else f"{stage_name}.{name}"
    searches = [stage for stage in stages if stage.name == label or stage.name.startswith(f"{label}.")]
    queries = sum(number(value) or 0 for stage in searches for key, value in stage.record["metrics"].items() if "queries" in key.split("/"))
    if not queries:
        return None
    own = 1000 * sum(stage.seconds for stage in searches) / queries
    if not experiment.system(name).encodes:
        return own
    speeds = [number(stage.record["metrics"].get("passages_per_second")) for stage in stages if stage.kind == "encode" and stage.subject == name]
    return own + 1000 / min(speeds) if speeds and all(speeds) else own


def _watt_hours(stage: Stage) -> float:
    hardware = stage.record.get("hardware") or {}
    busy = stage.cpu_seconds or stage.seconds * (number(hardware.get("threads")) or 1)
    power = next((watts for part, watts in WATTS_OF_GPU.items() if part in str(hardware.get("gpu", ""))), OTHER_GPU)
    # A job sees the accelerators that it was given, and no others.
    return (busy * WATTS_PER_CORE + stage.seconds * (number(hardware.get("gpus")) or 0) * power) / 3600
