"""``simlm plan`` and Snakemake agree about what there is to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlm.config import load_experiment
from simlm.paths import Paths
from simlm.planning.costs import load_costs
from simlm.planning.counts import Counts
from simlm.planning.estimate import Planner

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["smoke.yaml", "config.yaml"])
def test_the_jobs_are_those_of_the_workflow(name, snakemake, tmp_path, monkeypatch):
    """Whatever Snakemake would run has a line, and nothing else has."""
    monkeypatch.chdir(ROOT)
    file = ROOT / "config" / name
    plan = snakemake(ROOT, "-n", "--forceall", "--cores", "1", configs=[file])
    experiment = load_experiment(file)
    counts = Counts(1000, 50, {"train": 100, "dev": 10, "test": 10}, "the test")
    costs = load_costs()
    stages = Planner(experiment, Paths(tmp_path), counts, costs, costs.accelerator(None)[1]).stages()
    jobs = [job for job in plan.jobs if job != "Writing the resolved configuration"]
    assert len(jobs) == sum(stage.jobs for stage in stages), plan.text
