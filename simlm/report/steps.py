"""Did each step of the method help? Pairs of systems that differ by one step, with the paired test between them."""

from __future__ import annotations

from dataclasses import dataclass

from simlm.config import Experiment
from simlm.config.graph import counterparts
from simlm.evaluation.compare import ComparisonRow


@dataclass(frozen=True)
class Step:
    """One step of the method: ``system`` against ``against``, and what was changed between them."""

    system: str
    against: str
    change: str
    comparison: ComparisonRow | None


def steps(experiment: Experiment, comparisons: list[ComparisonRow]) -> list[Step]:
    """One step per evaluated system but the first: against its nearest counterpart in the graph, on the main split and metric."""
    evaluate, systems = experiment.evaluate, experiment.systems
    found = {(row.system, row.against): row for row in comparisons if row.split == evaluate.main_split and row.metric == evaluate.main_metric}
    return [
        Step(name, against, systems[name].change(against, systems[against], systems), found.get((name, against)))
        for name in evaluate.systems
        for against in counterparts(experiment, name)[:1]
    ]
