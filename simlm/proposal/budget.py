"""Lengths and steps that fit into a time, by the cost model of ``simlm plan``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from simlm.config.experiment import Experiment
from simlm.config.jobs import Job
from simlm.config.resources import asked
from simlm.errors import UserError
from simlm.paths import Paths
from simlm.planning.costs import load_costs
from simlm.planning.counts import Counts
from simlm.planning.estimate import Planner
from simlm.planning.lengths import TOKENS_PER_WORD, TOKENS_PER_WORD_SMALL
from simlm.planning.timeline import timeline
from simlm.proposal.base import Base
from simlm.proposal.choices import Plan, enough, most_steps, rounded, trained
from simlm.proposal.data import Data

FIXED = 0.8
"""Share of the budget that embedding and searching may take before passages are read shorter."""

LEAST_STEPS = 20
"""Fewest steps that are worth starting a training for."""

LEAST_PAIRS = 20_000
"""Pairs that a re-ranker must see before it may know more than the lists it sorts."""

SHARES = {
    "scratch": {"base": 0.35, "generator": 0.1, "simlm": 0.25, "retriever": 0.3},
    "encoder": {"retriever": 1.0},
    "retriever": {"retriever": 1.0},
}
"""How the time of the trainings is shared."""

WITH_RERANKER = {"retriever": 0.35, "reranker": 0.35, "distilled": 0.3}

MOST = {"base": 100_000, "generator": 100_000, "simlm": 80_000}
"""Most steps of a pre-training, whatever the budget."""


def seconds(text: str) -> float:
    """A time such as ``20m``, ``1h30m`` or ``45s``.

    >>> seconds("20m"), seconds("1h30m"), seconds("90"), seconds("45s")
    (1200.0, 5400.0, 5400.0, 45.0)

    Raises
    ------
    UserError
        If it is none.
    """
    found = re.fullmatch(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)(?:m|$))?(?:(\d+)s)?", text.strip().lower())
    total = sum(float(part or 0) * unit for part, unit in zip(found.groups(), (86_400, 3_600, 60, 1))) if found and text.strip() else 0
    if total <= 0:
        raise UserError(f"--budget: '{text}' is no time; give minutes or hours, such as 20m or 1h30m")
    return total


@dataclass(frozen=True)
class Fit:
    """A plan, and the seconds that the experiment will take with it."""

    plan: Plan
    wall: float


def fit(data: Data, base: Base, budget: float, cores: int, gpus: int, reranker: bool, build: Callable[[Plan], Experiment]) -> Fit:
    """The longest passages, the most negatives and the most steps that a time allows.

    Parameters
    ----------
    budget
        Seconds from the first job to the last, on ``cores`` and ``gpus``.
    reranker
        Whether a re-ranker may be among the models.
    build
        Makes the experiment of a plan.
    """
    batch = 64 if gpus else 32
    longest = min(base.positions, base.longest or base.positions, 256)
    query = rounded(data.query_tokens[99] + 2, 8, 16, longest)
    plan = Plan(
        query, longest, 1, batch, dict.fromkeys((*SHARES["scratch"], *WITH_RERANKER), 1), False, dict.fromkeys((*SHARES["scratch"], *WITH_RERANKER), "")
    )
    tried = list(dict.fromkeys(rounded(data.tokens[percent] + 3, 16, 32, longest) for percent in (95, 90, 75, 50)))
    tried += [length for length in (128, 96, 64, 48, 32) if length < tried[-1]]
    for length in tried:
        plan = replace(plan, passage=length, notes=plan.notes | {"passage": _read(data, base, length, length == tried[0], budget)})
        fixed = _wall(data, base, plan, cores, gpus, build)
        if fixed <= FIXED * budget:
            break
    if not trained(base, plan, data):
        return Fit(plan, fixed)
    rest = max(0.0, budget - fixed)
    pairs = _affordable(data, base, replace(plan, reranker=True), "reranker", WITH_RERANKER["reranker"] * rest, cores, gpus, build) if reranker else 0
    with_reranker = reranker and enough(data) and base.start != "scratch" and pairs * batch * 8 >= LEAST_PAIRS
    plan = replace(plan, reranker=with_reranker)
    shares = WITH_RERANKER if with_reranker else SHARES[base.start]
    for hard in (7, 3, 1):
        plan = replace(plan, hard=hard)
        steps = {
            name: _affordable(data, base, plan, name, share * rest, cores, gpus, build) for name, share in shares.items() if name in trained(base, plan, data)
        }
        if steps.get("retriever", LEAST_STEPS) >= min(most_steps(base, data, batch), 10 * LEAST_STEPS):
            break
    plan = replace(plan, steps=dict(plan.steps), notes=dict(plan.notes))
    for name, affordable in steps.items():
        ceiling = MOST.get(name) or most_steps(base, data, batch)
        plan.steps[name] = max(LEAST_STEPS, min(affordable, ceiling))
        plan.notes[name] = _said(affordable, ceiling, budget)
    return Fit(plan, _wall(data, base, plan, cores, gpus, build))


def _said(affordable: int, ceiling: int, budget: float) -> str:
    if affordable < LEAST_STEPS:
        return f"the fewest that are worth a training; the budget of {minutes(budget)} has time for {affordable}"
    if affordable < ceiling:
        return f"as many as the budget of {minutes(budget)} has time for"
    return f"the budget of {minutes(budget)} has time for more, but more passes teach no more"


def _read(data: Data, base: Base, length: int, first: bool, budget: float) -> str:
    whole = sum(1 for percent in sorted(data.tokens) if data.tokens[percent] + 3 <= length)
    share = [percent for percent in sorted(data.tokens) if data.tokens[percent] + 3 <= length]
    read = f"passages have {data.tokens[50]} tokens in the middle; {share[-1] if whole else 'fewer than 50'} of 100 are read whole"
    if first:
        return read + (f" (the start was made for {base.longest})" if base.longest and length >= base.longest else "")
    return f"{read}; reading more would take embedding the corpus beyond {FIXED:.0%} of the budget of {minutes(budget)}"


def minutes(value: float) -> str:
    """A time for people.

    >>> minutes(1200), minutes(7200), minutes(30)
    ('20 minutes', '2 hours', '30 seconds')
    """
    for unit, name in ((3600, "hours"), (60, "minutes"), (1, "seconds")):
        if value >= 2 * unit or unit == 1:
            return f"{value / unit:.3g} {name}"
    return ""


def planner(data: Data, base: Base, experiment: Experiment) -> Planner:
    """The planner with the counts that were found, not assumed ones."""
    per_word = TOKENS_PER_WORD_SMALL if base.start == "scratch" else TOKENS_PER_WORD
    words = max(1.0, data.mean_tokens / per_word)
    counts = Counts(data.passages, words, {name: split.queries for name, split in data.splits.items()}, "the files")
    costs = load_costs()
    return Planner(experiment, Paths(Path("results") / experiment.name), counts, costs, costs.accelerator(None)[1])


def _wall(data: Data, base: Base, plan: Plan, cores: int, gpus: int, build: Callable[[Plan], Experiment]) -> float:
    return timeline(planner(data, base, build(plan)), cores, gpus).wall


def _affordable(data: Data, base: Base, plan: Plan, name: str, time: float, cores: int, gpus: int, build: Callable[[Plan], Experiment]) -> int:
    """Steps of a training that fit into a time, its looks at held-out queries included."""
    if name not in trained(base, plan, data):
        return 0
    few, many = (_training_wall(data, base, replace(plan, steps=plan.steps | {name: steps}), name, cores, gpus, build) for steps in (100, 200))
    start, step = max(0.0, 2 * few - many), (many - few) / 100
    return max(0, int((time - start) / max(step, 1e-9)))


def _training_wall(data: Data, base: Base, plan: Plan, name: str, cores: int, gpus: int, build: Callable[[Plan], Experiment]) -> float:
    experiment, job = build(plan), Job("train", name)
    own = asked(experiment, job)
    return planner(data, base, experiment).job(job).wall(own._replace(threads=min(own.threads, cores), gpus=min(own.gpus, gpus)))
