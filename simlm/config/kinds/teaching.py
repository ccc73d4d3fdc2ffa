"""Whose scores a training reads, and what it makes of them: settings that students have in common."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from simlm.config.base import Block

TEACHERS = ("scores", "teaches")
"""Roles of what can be a teacher."""


class TeacherSettings(Block):
    """One teacher, or several whose scores are averaged (:mod:`simlm.training.teachers`)."""

    teacher: str | list[str] | None = Field(
        None,
        description="Re-ranker, late-interaction model or file of scores (`given_scores`) whose scores of a query's list are distilled, or several, "
        "whose scores are averaged; null: the labels alone.",
        examples=["reranker", ["reranker", "scores"]],
    )
    teacher_weights: list[float] | None = Field(
        None, description="How much each of several teachers counts, in their order; null: all the same.", examples=[[2, 1]]
    )

    @model_validator(mode="after")
    def _each_once(self) -> TeacherSettings:
        if isinstance(self.teacher, list) and (not self.teacher or len(set(self.teacher)) < len(self.teacher)):
            raise ValueError("name at least one teacher, and each once")
        if self.teacher_weights is not None and (len(self.teacher_weights) != len(self.teachers()) or min(self.teacher_weights, default=0) <= 0):
            raise ValueError(f"'teacher_weights' must be as many numbers above 0 as there are teachers ({len(self.teachers())})")
        return self

    def teachers(self) -> dict[str, str]:
        """Field → teacher, in their order."""
        if isinstance(self.teacher, list):
            return {f"teacher[{i}]": name for i, name in enumerate(self.teacher)}
        return {"teacher": self.teacher} if self.teacher else {}


class DistillingSettings(TeacherSettings):
    """A student whose loss compares its scores of a query's list with a teacher's."""

    distillation: Literal["kl", "margin_mse"] = Field(
        "kl",
        description="How the student's scores of a query's list follow the teacher's: `kl`, the divergence of their distributions over the list, or "
        "`margin_mse`, the squared difference of their margins between the positive and each negative (Hofstätter et al., 2020), for which the student's "
        "scores must be able to differ as much as the teacher's (see `temperature` and `teacher_temperature`).",
    )
    teacher_temperature: float = Field(
        1.0, gt=0, description="The teacher's scores are divided by this: above 1 it is less sure of itself; what a teacher with scores of another range needs."
    )

    teacher_drop_above: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Leave negatives out that the teacher gives at least this share of the best positive's probability (0.95: at most 0.05 below it, as the "
        "softmax over a list sees it, whatever the sign of the scores): probably right answers that nobody judged. All that is listed is scored then, not "
        "only what is visited; null: keep them.",
    )

    @model_validator(mode="after")
    def _lists(self) -> DistillingSettings:
        if self.teacher is not None and not (self.negatives is not None and self.hard_negatives):
            raise ValueError("a teacher scores listed negatives: 'negatives' and 'hard_negatives' must be given with 'teacher'")
        if self.teacher_drop_above is not None and self.teacher is None:
            raise ValueError("'teacher_drop_above' reads the scores of a 'teacher', which is not given; negatives.drop_above needs none")
        return self
