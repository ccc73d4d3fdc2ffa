"""What config/systems.yaml and config/ablation.yaml promise: every system and objective is there, from one base, in the time that stands in docs/systems.md."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from simlm.config import load_experiment
from simlm.paths import Paths
from simlm.planning.costs import load_costs
from simlm.planning.counts import Counts
from simlm.planning.estimate import Planner

ROOT = Path(__file__).resolve().parents[2]
PYDOCS = Counts(23_891, 141, {"train": 19_113, "dev": 500, "test": 2000}, "the packages of the lock")
BASE = "pretrained/pydocs-base"


@cache
def laid_over(name: str):
    return load_experiment(ROOT / "config/config.yaml", ROOT / "config" / name)


@cache
def stages(name: str):
    """The planned stages, of which nothing is done."""
    costs = load_costs()
    return Planner(laid_over(name), Paths(Path("nowhere")), PYDOCS, costs, costs.accelerator(None)[1]).stages()


@pytest.mark.parametrize(("name", "minutes"), [("systems.yaml", 46), ("ablation.yaml", 80)])
def test_two_cores_are_done_in_the_time_that_is_said(name, minutes):
    assert 0.8 * minutes < sum(stage.cpu for stage in stages(name)) / 60 < minutes


def test_all_four_systems_are_planned_and_judged_from_one_base():
    experiment = laid_over("systems.yaml")
    assert {BASE, "pretrained/pydocs-generator"} == {
        name for block in experiment.models.values() for name in (block.initial(), getattr(block, "generator", None)) if name and name not in experiment.systems
    }
    jobs = {stage.stage: stage.jobs for stage in stages("systems.yaml")}
    simlm = ("simlm", "retriever1", "retriever2", "reranker", "distilled")
    cocondenser = ("condenser", "cocondenser_pretrained", "cocondenser1", "cocondenser")
    trained = {stage.removeprefix("train.") for stage in jobs if stage.startswith("train.")}
    assert trained == {"control", *simlm, *cocondenser, "rocketqav2", "colbertv2"}
    for stage in (
        "rerank.rocketqav2.reranker",
        "search_index.rocketqav2.retriever",
        "build_index.colbertv2",
        "search_index.cocondenser",
        "search_index.distilled",
    ):
        assert jobs[stage] == 1
    assert {f"score_teacher.{student}" for student in ("distilled", "rocketqav2", "colbertv2")} <= set(jobs)
    judged = experiment.evaluate.systems
    assert [experiment.variants[name] for name in ("SimLM", "coCondenser", "RocketQAv2", "ColBERTv2")] == [
        [name] for name in ("distilled", "cocondenser", "rocketqav2.retriever", "colbertv2")
    ]
    assert {"bm25", "rocketqav2.reranker", *(name for members in experiment.variants.values() for name in members)} <= set(judged)
    assert experiment.models["colbertv2"].index.residual.bits == 2


def test_the_ablation_has_its_objectives_with_three_seeds():
    jobs = {stage.stage: stage.jobs for stage in stages("ablation.yaml")}
    objectives = ("simlm", "encoder_decoder_mlm", "condenser", "mlm", "encoder_decoder_rtd", "base", "auto_encoder")
    for seed in (1, 2, 3):
        assert {f"train.from_{name}-s{seed}" for name in objectives} <= set(jobs)
