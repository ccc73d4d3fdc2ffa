"""Did each step of the method help? Pairs of systems that differ by one step, with the paired test between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simlm.config import Experiment
from simlm.config.kinds import Fusion, ModelBlock
from simlm.context import Context
from simlm.errors import UserError
from simlm.evaluation.compare import ComparisonRow, comparison_rows, read_values

_SCIENCE = ("init", "negatives", "teacher")
_REST = ("hard_negatives", "epochs", "steps", "batch_size", "learning_rate", "contrastive_weight", "temperature", "dropout")


@dataclass(frozen=True)
class Step:
    """One step of the method: ``system`` against ``against``, and what was changed between them."""

    system: str
    against: str
    change: str
    comparison: ComparisonRow | None


def steps(context: Context, comparisons: list[ComparisonRow]) -> list[Step]:
    """One step per evaluated system but the first, on the main split and metric.

    A pair that the table of comparisons does not hold (a distilled retriever against the retriever that shares its
    negatives, for instance) is tested here, with the same test and without correction beyond the pair itself.
    """
    evaluate = context.experiment.evaluate
    found = {(row.system, row.against): row for row in comparisons if row.split == evaluate.main_split and row.metric == evaluate.main_metric}
    result = []
    for i, system in enumerate(evaluate.systems[1:], 1):
        against = counterpart(context.experiment, system, evaluate.systems[:i])
        row = found.get((system, against)) or _test(context, system, against)
        result.append(Step(system, against, change(context.experiment, system, against), row))
    return result


def counterpart(experiment: Experiment, system: str, earlier: list[str]) -> str:
    """The earlier system that a step is measured against.

    A re-ranker is measured against the system it re-ranks, a fusion against its first system, a bi-encoder against the
    earlier bi-encoder whose settings differ least; anything else against the system before it.
    """
    model = experiment.models.get(system)
    if _role(model) == "crossencoder" and model.candidates() in earlier:
        return model.candidates()
    if isinstance(model, Fusion) and model.of[0] in earlier:
        return model.of[0]
    if _role(model) == "biencoder":
        relatives = [name for name in earlier if _role(experiment.models.get(name)) == "biencoder"]
        if relatives:
            return min(reversed(relatives), key=lambda name: len(_differences(experiment, system, name, _SCIENCE)))
        return experiment.evaluate.baseline if experiment.evaluate.baseline in earlier else earlier[-1]
    return earlier[-1]


def _role(model: ModelBlock | None) -> str | None:
    return model.role if model is not None else None


def _differences(experiment: Experiment, system: str, against: str, fields: tuple[str, ...]) -> list[tuple[str, Any, Any]]:
    new, old = experiment.models[system], experiment.models[against]
    pairs = [(field, getattr(old, field, None), getattr(new, field, None)) for field in fields]
    return [(field, one, other) for field, one, other in pairs if one != other]


def change(experiment: Experiment, system: str, against: str) -> str:
    """What was changed from ``against`` to ``system``, in words."""
    model, other = experiment.models.get(system), experiment.models.get(against)
    if _role(model) == "crossencoder":
        return f"its top {model.rerank_depth} re-ranked by a cross-encoder"
    if isinstance(model, Fusion):
        return f"reciprocal rank fusion with {' and '.join(name for name in model.of if name != against)}"
    if _role(model) != "biencoder":
        return ""
    if _role(other) != "biencoder":
        return "a dense retriever instead of words" if against == "bm25" else "a dense retriever"
    parts = []
    for field, old, new in _differences(experiment, system, against, _SCIENCE):
        kind = getattr(experiment.models.get(str(new)), "kind", None)
        if field == "init" and kind == "bottleneck":
            parts.append(f"starts from {new} (bottleneck pre-training) instead of {old}")
        elif field == "init":
            parts.append(f"starts from {new} instead of {old}")
        elif field == "negatives":
            parts.append(f"hard negatives from {new or 'the batch alone'} instead of {old or 'the batch alone'}")
        else:
            parts.append(f"distils {new}" if new else f"without the teacher {old}")
    parts += [f"{field} {_short(old)} → {_short(new)}" for field, old, new in _differences(experiment, system, against, _REST)]
    return "; ".join(parts) or "nothing but the name"


def _short(value: Any) -> str:
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _test(context: Context, system: str, against: str) -> ComparisonRow | None:
    experiment = context.experiment
    evaluate = experiment.evaluate
    pair = evaluate.model_copy(update={"systems": [against, system], "baseline": against, "metrics": [evaluate.main_metric]})
    try:
        values = read_values(context.paths, [against, system], evaluate.main_split, pair.metrics)
    except UserError:
        return None
    rows = comparison_rows(values, evaluate.main_split, pair, experiment.seed)
    return rows[0] if rows else None
