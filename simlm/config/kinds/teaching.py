"""Whose scores a training reads, and what it makes of them: settings that students have in common."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from simlm.config.base import Block


class DistillingSettings(Block):
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

    @model_validator(mode="after")
    def _lists(self) -> DistillingSettings:
        if self.teacher is not None and not (self.negatives is not None and self.hard_negatives):
            raise ValueError("a teacher scores listed negatives: 'negatives' and 'hard_negatives' must be given with 'teacher'")
        return self
