"""Was each step of the method better? Pairs of systems that differ by one step, with the paired test between them."""

from __future__ import annotations

from dataclasses import dataclass

from simlm.config import Experiment
from simlm.config.graph import counterparts
from simlm.config.kinds.base import System
from simlm.config.kinds.roles import other_settings
from simlm.evaluation.compare import ComparisonRow
from simlm.evaluation.results import SIGNIFICANT


@dataclass(frozen=True)
class Step:
    """One step of the method: ``system`` against ``against``, and what was changed between them: in words, and the other settings that differ."""

    system: str
    against: str
    change: str
    settings: list[str]
    comparison: ComparisonRow | None

    @property
    def verdict(self) -> str:
        """What the test says; where several things changed, that it says it of all of them together."""
        if self.comparison is None:
            return ""
        if self.comparison.p_holm >= SIGNIFICANT:
            return "no significant difference"
        changes = len(self.change.split("; ") if self.change else []) + len(self.settings)
        return ("better" if self.comparison.difference > 0 else "worse") + (f", by {changes} changes together" if changes > 1 else "")


def steps(experiment: Experiment, comparisons: list[ComparisonRow]) -> list[Step]:
    """One step per evaluated system but the first: against its nearest counterpart in the graph, on the main split and metric."""
    evaluate, systems = experiment.evaluate, experiment.systems
    found = {(row.system, row.against): row for row in comparisons if row.split == evaluate.main_split and row.metric == evaluate.main_metric}
    made = []
    for name in evaluate.systems:
        for against in counterparts(experiment, name)[:1]:
            change, settings = changes(systems[name], against, systems[against], experiment)
            made.append(Step(name, against, change, settings, found.get((name, against))))
    return made


def changes(system: System, against: str, other: System, experiment: Experiment) -> tuple[str, list[str]]:
    """What is new in a system in comparison with another, in words, and the other settings in which they differ."""
    settings = other_settings(system, other) if system.compared_by and system.compared_by == other.compared_by else []
    change = system.change(against, other, experiment.systems)
    return change or ("" if settings else "nothing but the name"), settings
