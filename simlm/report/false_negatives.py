"""The section "Are the negatives wrong?": how many of the negatives are probably right answers, by whose scores, and what was left out."""

from __future__ import annotations

from dataclasses import dataclass

from simlm.config import Experiment
from simlm.config.graph import scored_by
from simlm.config.jobs import teachers_of
from simlm.records.stages import Stage, number


@dataclass(frozen=True)
class FalseNegatives:
    """One list of negatives as one system sees it.

    Attributes
    ----------
    mined_from, judged_by
        Whose run the negatives are from, and whose scores are compared.
    student
        The model that is trained on them, where a teacher judges.
    compared
        Negatives with a score.
    above, close
        Shares of them above the best positive (a teacher's alone), and with at least 95 % of its score or probability.
    left_out
        Negatives left out for it; None where nothing was to be left out.
    """

    mined_from: str
    judged_by: str
    student: str
    compared: int
    above: float | None
    close: float
    left_out: int | None


def false_negatives(experiment: Experiment, stages: list[Stage]) -> list[FalseNegatives]:
    """A row per mined system, as its own scores see it, and one per student, as its teachers see it; in the order of the stages."""
    notes, found = {stage.name: stage.record.get("notes", {}) for stage in stages}, []
    for stage in stages:
        kind, _, name = stage.name.partition(".")
        count = {what: number(value) for what, value in stage.record.get("metrics", {}).items()}
        if kind == "mine_negatives" and (compared := count.get("compared")):
            left_out = None if experiment.negatives.drop_above is None else int(count.get("dropped_close") or 0)
            found.append(FalseNegatives(name, scored_by(experiment, name), "", int(compared), None, (count.get("close") or 0) / compared, left_out))
        elif kind == "score_teacher" and (compared := count.get("negatives_compared")):
            model = experiment.models[name]
            dropped = notes.get(f"train.{name}", {}).get("scored by the teacher", {}).get("close")
            left_out = None if getattr(model, "teacher_drop_above", None) is None or dropped is None else int(dropped)
            above, close = ((count.get(f"negatives_{what}") or 0) / compared for what in ("above", "close"))
            mined, teachers = (" and ".join(names.values()) for names in (model.mined_from(), teachers_of(model)))
            found.append(FalseNegatives(mined, teachers, name, int(compared), above, close, left_out))
    return found
