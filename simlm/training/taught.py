"""What a teacher's scores leave of the lists that a student is trained on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from simlm.config.jobs import teacher_scores_all, teachers_of
from simlm.errors import UserError
from simlm.progress import say
from simlm.training.false_negatives import as_probable
from simlm.training.queries import TrainingQueries
from simlm.training.teacher_scores import TeacherScores

if TYPE_CHECKING:
    from simlm.training.job import TrainingJob

FEW = 0.1
"""Share of the training queries left out from which a caution is due."""


@dataclass
class TaughtCounts:
    """What was left out.

    Attributes
    ----------
    without_positive, without_negative
        Queries none of whose positives, or none of whose negatives, has a score (or stays); they are not trained on.
    unscored
        Listed passages of the other queries that have no score.
    close
        Negatives of all queries that are trained on which the teacher gives nearly the positive's probability (``teacher_drop_above``).
    """

    without_positive: int = 0
    without_negative: int = 0
    unscored: int = 0
    close: int = 0


def taught_queries(job: TrainingJob) -> tuple[TrainingQueries, TeacherScores | None]:
    """The queries of a training with the scores of its teacher, if it has one; left out is what these do not let be trained on.

    Raises
    ------
    UserError
        If the scores cannot be read, or leave nothing.
    """
    trained, scores = TrainingQueries.of(job.context, job.name, job.store), None
    if names := list(teachers_of(job.settings).values()):
        paths = job.context.paths
        scores = TeacherScores.read(paths.teacher_scores(job.name), job.name, trained.groups, paths.training(job.name).parent)
        if teacher_scores_all(job.context.experiment, job.name):
            trained = _left(job, trained, scores, names)
    job.record.notes["queries"] = trained.counts
    return trained, scores


def _left(job: TrainingJob, trained: TrainingQueries, scores: TeacherScores, names: list[str]) -> TrainingQueries:
    """What the scores of some teachers leave, told and recorded."""
    left, counts = scored_only(trained, scores, job.settings.teacher_drop_above)
    job.record.notes["scored by the teacher"] = asdict(counts)
    lost, who = counts.without_positive + counts.without_negative, f"the scores of {' and '.join(names)}"
    sentence = (
        f"{len(left.seen):,} of {len(trained.seen):,} training queries have a positive and a negative that {who} leave; left out are "
        f"{counts.without_positive:,} queries without a scored positive, {counts.without_negative:,} without a negative, and "
        f"{counts.unscored:,} passages without a score"
    )
    if (share := job.settings.teacher_drop_above) is not None:
        sentence += f", {counts.close:,} negatives with {share:.0%} of the positive's probability or more"
    if not len(left.seen):
        raise UserError(f"{job.place}.teacher: nothing is left to train on: {sentence}; let it score what negatives/*.parquet lists, or take another teacher")
    say(f"{sentence}.")
    if lost > FEW * len(trained.seen):
        job.record.caution(f"{job.name}: {sentence}")
    return left


def scored_only(trained: TrainingQueries, scores: TeacherScores, drop_above: float | None = None) -> tuple[TrainingQueries, TaughtCounts]:
    """The queries that are trained on with what is scored of their lists, without negatives that are probably right answers.

    Those held out keep whole lists, for nothing of theirs is distilled.
    """
    groups, counts, seen = trained.groups, TaughtCounts(), []
    kept = np.ones(len(groups.positives), bool), np.ones(len(groups.negatives), bool)
    for query in trained.seen.tolist():
        right, wrong = scores.known(query, groups.positives_of(query)), scores.known(query, groups.negatives_of(query))
        close = np.zeros(len(wrong), bool) if drop_above is None else as_probable(wrong, right, drop_above)
        labelled, listed = ~np.isnan(right), ~np.isnan(wrong) & ~close
        counts.without_positive += not labelled.any()
        counts.without_negative += bool(labelled.any() and not listed.any())
        if labelled.any() and listed.any():
            seen.append(query)
            counts.unscored += int((~labelled).sum() + np.isnan(wrong).sum())
            counts.close += int(close.sum())
            kept[0][groups.positive_offsets[query] : groups.positive_offsets[query + 1]] = labelled
            kept[1][groups.negative_offsets[query] : groups.negative_offsets[query + 1]] = listed
    return replace(trained, groups=groups.where(*kept), seen=np.array(seen, np.int64)), counts
