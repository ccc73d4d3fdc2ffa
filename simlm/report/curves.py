"""The curves of all trainings, one chart per quantity, with every model that has it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simlm.config.metrics import spoken_metric
from simlm.records.stages import Stage
from simlm.report import charts
from simlm.report.tables import duration

if TYPE_CHECKING:
    from simlm.config import Experiment

Points = list[tuple[float, float]]
"""(share of the training in percent, value) in the order of the steps."""

SHARES = 20
"""A curve has a point per this part of the training, and the last step."""


@dataclass(frozen=True)
class Facts:
    """One training in numbers."""

    model: str
    steps: int
    seconds: float

    @property
    def text(self) -> str:
        """As a sentence of the page."""
        return f"{self.model}: {self.steps:,} steps in {duration(self.seconds)}"


def facts(stages: list[Stage]) -> list[Facts]:
    """Steps and time of every training that left a curve."""
    return [Facts(stage.subject, stage.history[-1]["step"], stage.seconds) for stage in stages if stage.kind == "train" and stage.history]


def curves(experiment: Experiment, stages: list[Stage]) -> dict[str, dict[str, Points]]:
    """Quantity → model → points; losses of language models, retrievers and re-rankers are different quantities."""
    found: dict[str, dict[str, Points]] = {}
    for stage in stages:
        if stage.kind != "train" or not stage.history:
            continue
        noun = experiment.models[stage.subject].noun
        steps = max(line["step"] for line in stage.history)
        for quantity, points in _quantities(stage, noun).items():
            found.setdefault(quantity, {})[stage.subject] = thinned(points, steps)
    return dict(sorted(found.items(), key=lambda item: (item[0].startswith("held-out"), item[0].startswith("probe"))))


def _quantities(stage: Stage, noun: str) -> dict[str, list[tuple[int, float]]]:
    """Losses of training, numbers of held-out data, the retrieval probe; a part of a loss that is all of it is left out."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in stage.history:
        for name, value in line.items():
            folder = name.rpartition("/")[0]
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not (folder or "loss" in name):
                continue
            found.setdefault(name, []).append((line["step"], float(value)))
    for folder in {name.rpartition("/")[0] for name in found}:
        whole = found.get(f"{folder}/loss" if folder else "loss", [])
        for name in [name for name in found if name.rpartition("/")[0] == folder and name.rpartition("/")[2] != "loss"]:
            if _alike(found[name], whole):
                del found[name]
    return {_title(name, noun): points for name, points in found.items()}


def _title(name: str, noun: str) -> str:
    """What a key of the history is called.

    >>> _title("encoder_loss", "language model"), _title("held_out/RR", "re-ranker"), _title("probe/RR@10", "language model")
    ('encoder loss (language model)', 'held-out MRR (re-ranker)', 'probe: MRR@10')
    """
    folder, _, last = name.rpartition("/")
    spoken = spoken_metric(last).replace("_", " ")
    return f"probe: {spoken}" if folder == "probe" else f"{'held-out ' if folder else ''}{spoken} ({noun})"


def _alike(one: list[tuple[int, float]], other: list[tuple[int, float]]) -> bool:
    return len(one) == len(other) and all(math.isclose(y, z, rel_tol=1e-3) for (_, y), (_, z) in zip(one, other))


def thinned(points: list[tuple[int, float]], steps: int) -> Points:
    """The last point of every twentieth of the training, its step as a share in percent; the end is among them.

    >>> thinned([(1, 9.0), (2, 8.0), (30, 5.0), (100, 4.0)], 100)
    [(2.0, 8.0), (30.0, 5.0), (100.0, 4.0)]
    """
    kept = {min(SHARES - 1, (step * SHARES - 1) // steps): (100 * step / steps, value) for step, value in points}
    return list(kept.values())


def curve_charts(experiment: Experiment, stages: list[Stage]) -> list[charts.Chart]:
    """A chart per quantity that was measured more than once, or by more than one model."""
    return [
        charts.line_chart(quantity, found, "share of the training (%)", quantity.partition(" (")[0], list(experiment.models))
        for quantity, found in curves(experiment, stages).items()
        if len(found) > 1 or any(len(points) > 1 for points in found.values())
    ]
