"""The profiles of clusters that are not here: they plan the same jobs, and what they would submit is what was asked for."""

from __future__ import annotations

import importlib.util
import re
from argparse import Namespace
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "config" / "smoke.yaml"
PROFILES = ROOT / "workflow" / "profiles"
DOCUMENTED = re.findall(r"```yaml\n(executor:.*?)```", (ROOT / "docs" / "schedulers.md").read_text(), flags=re.DOTALL)


@pytest.fixture(scope="module")
def planned(snakemake, tmp_path_factory):
    """The jobs of smoke with the profile of this machine."""
    return set(snakemake(tmp_path_factory.mktemp("local"), "-n", "--cores", "2", configs=[SMOKE]).jobs)


@pytest.mark.parametrize("profile", sorted(path.name for path in PROFILES.iterdir()))
def test_each_profile_is_complete_and_plans_the_same_jobs(snakemake, tmp_path, planned, profile):
    plan = snakemake(tmp_path, "-n", "--workflow-profile", str(PROFILES / profile), "--executor", "dryrun", configs=[SMOKE])
    assert plan.code == 0, plan.text
    assert len(planned) > 30
    assert set(plan.jobs) == planned
    common = yaml.safe_load((PROFILES / "default" / "config.yaml").read_text())
    own = yaml.safe_load((PROFILES / profile / "config.yaml").read_text())
    assert common.keys() <= own.keys()


def test_the_documented_schedulers_plan_the_same_jobs(snakemake, tmp_path, planned):
    assert len(DOCUMENTED) == 3
    for number, text in enumerate(DOCUMENTED):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "config.yaml").write_text(text)
        plan = snakemake(folder, "-n", "--workflow-profile", str(folder), "--executor", "dryrun", configs=[SMOKE])
        assert plan.code == 0, plan.text
        assert set(plan.jobs) == planned


def test_cluster_generic_runs_jobs_through_a_submit_command(snakemake, tmp_path):
    """The executor of all those profiles, with a scheduler that starts the script at once and remembers what was asked for.

    The first job gets a quarter of the memory that it asked for and ends: it is submitted again and asks for twice as much.
    """
    profile = yaml.safe_load(DOCUMENTED[2])
    script = tmp_path / "submit"
    limit = '[ "$(wc -l < asked)" -gt 1 ] || ulimit -v 375000\n'
    script.write_text(f'#!/bin/sh\necho "$@" >> asked\n{limit}sh "$(eval echo \\${{$#}})" >> submitted.log 2>&1 &\necho $!\n')
    script.chmod(0o755)
    profile["cluster-generic-submit-cmd"] = profile["cluster-generic-submit-cmd"].replace("qsub", str(script))
    profile |= {"cluster-generic-cancel-cmd": "kill", "latency-wait": 5, "retries": 1}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(profile))
    done = snakemake(tmp_path, "--workflow-profile", str(tmp_path), "results/smoke/tokenizer/manifest.json", configs=[SMOKE], seconds=900)
    assert done.code == 0, done.text + (tmp_path / "submitted.log").read_text()
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == 3
    assert "-pe smp 2 -l h_vmem=1500M -l h_rt=00:30:00 -l gpu=0" in asked[0]
    assert "-pe smp 2 -l h_vmem=3000M -l h_rt=00:30:00 -l gpu=0" in asked[1]
    assert "h_vmem=1500M" in asked[2], "the next one asks for its own"


@pytest.fixture(scope="module")
def job():
    spec = importlib.util.spec_from_file_location("job", PROFILES / "kubernetes" / "job.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_kubernetes_job_asks_for_what_the_rule_asks_for(job):
    wanted = Namespace(image="simlm:0.1.0", claim="claim", mount="/data", cpus=8, memory=16000, gpus=4, minutes=90, script="/data/x/snakejob.sh")
    made = job.manifest(wanted, "simlm-1", "/data/x")
    pod = made["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert made["spec"]["activeDeadlineSeconds"] == 5400
    assert made["spec"]["backoffLimit"] == 0
    assert container["resources"] == {
        "requests": {"cpu": "8", "memory": "16000M", "nvidia.com/gpu": "4"},
        "limits": {"memory": "16000M", "nvidia.com/gpu": "4"},
    }
    assert container["workingDir"] == "/data/x"
    assert container["volumeMounts"][0]["name"] == pod["volumes"][0]["name"]
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "claim"
    assert (
        "nvidia.com/gpu"
        not in job.manifest(Namespace(**{**vars(wanted), "gpus": 0}), "n", "/")["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    )


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ({}, "running"),
        ({"active": 1}, "running"),
        ({"conditions": [{"type": "Complete", "status": "True"}], "succeeded": 1}, "success"),
        ({"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}], "failed": 1}, "failed"),
    ],
)
def test_states_of_kubernetes_jobs(job, status, word):
    assert job.state(status) == word
