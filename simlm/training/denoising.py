"""Denoised lists: positives and negatives that a re-ranker is sure of (RocketQA, arXiv 2010.08191, section 3.3; RocketQAv2, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from simlm.config.kinds.joint import Denoising
from simlm.training.groups import Groups
from simlm.training.spill import Spill
from simlm.training.teacher_scores import TeacherScores


@dataclass
class DenoisingCounts:
    """What the thresholds made of the lists.

    Attributes
    ----------
    listed, kept
        Negatives of all lists, and those that stayed negatives.
    positives
        Listed passages that became positives.
    without_list
        Queries that kept too few negatives, and so have no denoised list.
    """

    listed: int = 0
    kept: int = 0
    positives: int = 0
    without_list: int = 0


def certainty(listed: np.ndarray, labelled: np.ndarray, scale: str) -> np.ndarray:
    """How sure a teacher is that listed passages are relevant, between 0 and 1; float64, shape (listed,).

    Parameters
    ----------
    listed, labelled
        Its logits of a query's listed passages and of its labelled positives.
    scale
        ``logit``: the logit's sigmoid; ``margin``: that of its distance from the best labelled passage.

    >>> certainty(np.array([0.0, 2.0]), np.array([2.0, 1.0]), "margin").round(3).tolist()
    [0.119, 0.5]
    """
    from scipy.special import expit

    return expit(np.asarray(listed, np.float64) - (np.fmax.reduce(labelled) if scale == "margin" else 0.0))


def denoised(groups: Groups, teacher: TeacherScores, settings: Denoising, n: int, folder: Path, whole: bool = True) -> tuple[Groups, DenoisingCounts]:
    """The lists of ``groups`` as a teacher's scores leave them; the same queries under the same numbers.

    A listed passage above ``settings.positive`` becomes a positive, one below ``settings.negative`` stays a negative, what
    lies between is left out; labelled positives stay whatever their score.

    Parameters
    ----------
    n
        Negatives of a list; a query that keeps fewer has no denoised list, that is no negatives in the result.
    folder
        Where the lists are kept while the process runs.
    whole
        Whether every listed passage must have a score; otherwise one without is left out, as those of which the teacher is not sure.

    Raises
    ------
    UserError
        If a passage was not scored that must be.
    """
    scores = teacher.of if whole else teacher.known
    counts, positives, negatives = DenoisingCounts(), Spill(np.int32, folder), Spill(np.int32, folder)
    lengths = np.zeros((2, len(groups)), np.int64)
    for query in range(len(groups)):
        labelled, listed = groups.positives_of(query), groups.negatives_of(query)
        sure = certainty(scores(query, listed), scores(query, labelled), settings.scale)
        kept, more = listed[sure < settings.negative], listed[sure > settings.positive]
        counts.listed += len(listed)
        counts.kept += len(kept)
        counts.positives += len(more)
        if len(kept) < n:
            counts.without_list += 1
            kept = kept[:0]
        lengths[:, query] = len(labelled) + len(more), len(kept)
        positives.append(np.concatenate([labelled, more]))
        negatives.append(kept)
    offsets = [np.concatenate([[0], np.cumsum(own)]) for own in lengths]
    return replace(groups, positives=positives.finish(), positive_offsets=offsets[0], negatives=negatives.finish(), negative_offsets=offsets[1]), counts
