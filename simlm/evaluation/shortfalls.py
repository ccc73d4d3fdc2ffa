"""Systems that are worse than what they were made of: their parent, their start, the list they sort, a part of theirs, their student."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from simlm.config.graph import expected_above
from simlm.config.metrics import spoken_metric
from simlm.evaluation.compare import Values, p_value
from simlm.evaluation.metrics import mean
from simlm.evaluation.numbers import figure, p_text

if TYPE_CHECKING:
    from simlm.config.experiment import Experiment

CERTAIN = 0.05
"""Largest p-value of a paired test that counts as a difference. It is not corrected: a caution too many costs less than one too few."""


def shortfalls(experiment: Experiment, values: Values) -> Iterator[str]:
    """A sentence for each evaluated system that is significantly worse than one that it should be better than.

    It gives both figures (main metric on the main split), the p-value, and what its kind says of the usual reason
    (:meth:`~simlm.config.kinds.base.System.shortfall`).

    Parameters
    ----------
    values
        Of the main split (:func:`simlm.evaluation.compare.read_values`).
    """
    settings = experiment.evaluate
    split, metric = settings.main_split, settings.main_metric
    for name, against in expected_above(experiment):
        own, other = (mean(values[system][metric]) for system in (name, against))
        if own >= other:
            continue
        p = p_value(values, (name, against), split, metric, settings, experiment.seed)
        if p < CERTAIN:
            figures = f"{spoken_metric(metric)} on {split} {figure(own)} against {figure(other)}, p {p_text(p)}"
            yield f"{name} is worse than {against} ({figures}): {experiment.system(name).shortfall(name, against)}"
