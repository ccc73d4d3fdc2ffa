"""What jobs ask for, and how long they take together: against sums by hand and bounds that hold for every schedule."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from simlm.config import load_experiment
from simlm.config.jobs import Job, jobs
from simlm.config.resources import Asked, asked
from simlm.models.crossencoder import keep_hardest
from simlm.paths import Paths
from simlm.planning import estimate
from simlm.planning.costs import load_costs
from simlm.planning.counts import Counts
from simlm.planning.estimate import Estimate, Planner
from simlm.planning.requests import Requests
from simlm.planning.timeline import needs, timeline

ROOT = Path(__file__).resolve().parents[2]


def experiment(name: str, *overlays: Path):
    return load_experiment(ROOT / "config" / name, *overlays)


def planner(of, folder: Path, **counts) -> Planner:
    costs = load_costs()
    size = Counts(**{"passages": 20_000, "words": 140, "queries": {"train": 17_000, "dev": 500, "test": 2000}, "source": "the test", **counts})
    return Planner(of, Paths(folder), size, costs, costs.accelerator(None)[1])


def overlay(folder: Path, text: str) -> Path:
    (folder / "over.yaml").write_text(text)
    return folder / "over.yaml"


def test_a_small_training_asks_for_little_and_a_large_index_for_what_it_needs(tmp_path):
    small = Requests(experiment("config.yaml"), Paths(tmp_path))
    assert 1500 < small.of(Job("train", "distilled")).memory < 6000
    large = Requests(experiment("msmarco.yaml"), Paths(tmp_path))
    # 8,841,823 vectors of 768 numbers of four bytes are 25.9 thousand MiB.
    assert 26_000 < large.of(Job("build_index", "distilled")).memory < 50_000
    assert large.of(Job("train", "simlm")).minutes > 8 * 60 > small.of(Job("train", "simlm")).minutes


def test_a_corpus_that_is_not_there_is_the_stage_s_to_report(tmp_path):
    missing = experiment("config.yaml", overlay(tmp_path, f"corpus: {{source: beir, path: {tmp_path}/none, splits: {{train: train, dev: dev, test: test}}}}"))
    assert Requests(missing, Paths(tmp_path)).of(Job("prepare_corpus")).memory > 0


def test_rules_ask_for_what_the_plan_says(tmp_path):
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "workflow" / "Snakefile"), "-d", str(tmp_path), "--cores", "2", "-n", "-p"]
    out = subprocess.run([*command, "--configfile", str(ROOT / "config" / "smoke.yaml")], capture_output=True, text=True, check=True).stdout
    minutes = {name: int(number) for number, name in re.findall(r"--minutes (\d+) -- train .*?--model (\S+)", out)}
    requests = Requests(experiment("smoke.yaml"), Paths(tmp_path / "results" / "smoke"))
    assert minutes == {job.name: requests.of(job).minutes for job in jobs(experiment("smoke.yaml")) if job.stage == "train"}


def test_negatives_that_are_not_mined_take_no_memory(tmp_path):
    mined = experiment("config.yaml")
    none = experiment("config.yaml", overlay(tmp_path, "models: {control: {negatives: null}}"))
    passages = 1 + mined.models["control"].hard_negatives
    kept = [planner(of, tmp_path)._activations("control") for of in (mined, none)]
    assert kept[0] == pytest.approx(passages * kept[1])


@pytest.mark.parametrize(("group", "factor"), [(8, 1), (8, 3), (8, 8), (64, 4), (2, 4)])
def test_kept_passages_are_as_many_as_the_model_keeps(tmp_path, group, factor):
    import torch

    lists = "negatives: {sample: 64, pad_to: 64, depth: 64}"
    reranker = f"models: {{reranker: {{hard_negatives: {group - 1}, forward_factor: {factor}, rdrop_weight: 0}}}}"
    of = experiment("config.yaml", overlay(tmp_path, f"{lists}\n{reranker}"))
    seen = keep_hardest(torch.randn(1, group), factor).shape[1] if factor > 1 and group > 2 else group
    assert of.models["reranker"].texts == seen


def test_bf16_on_a_processor_counts_for_arithmetic_alone(tmp_path, monkeypatch):
    of = experiment("config.yaml")
    arithmetic, search = [], []
    for there in (False, True):
        monkeypatch.setattr(estimate, "cpu_has_bf16", lambda there=there: there)
        one = planner(of, tmp_path)
        arithmetic.append(one._compute(1e12, 256, True, 0)[0])
        search.append(one.job(Job("search_bm25")).cpu)
    assert arithmetic[0] / arithmetic[1] == pytest.approx(load_costs().bf16_speedup)
    assert search[0] == search[1]
    fp32 = of.model_copy(update={"precision": "fp32"})
    assert planner(fp32, tmp_path).speedup == 1


def test_the_corpus_is_tokenized_once_per_length(tmp_path):
    one = planner(experiment("config.yaml"), tmp_path)
    retrievers = [job for job in jobs(one.experiment) if job.stage in ("train", "encode") and not one.experiment.system(job.name).scores]
    first = {(job.stage, job.name) for job in retrievers if one._tokenized(job.stage, job.name) == 20_000}
    # Pre-training reads 48 tokens of a passage, and the control is the first of the retrievers, which read 80.
    assert first == {("train", "simlm"), ("train", "control")}
    assert all(one._tokenized(job.stage, job.name) == 0 for job in retrievers if (job.stage, job.name) not in first)


def test_a_job_of_several_threads_is_faster_but_not_as_many_times():
    alone = Estimate("train.x", 1, 0, 600.0, 0, 0, 0)
    assert alone.wall(Asked(1)) == 600
    assert 300 < alone.wall(Asked(2)) < 600
    assert Estimate("train.x", 1, 0, 100.0, 4000.0, 0, 0).wall(Asked(8, gpus=4)) == 1000


def test_what_waits_for_what_is_what_reads_what(tmp_path):
    waits = needs(planner(experiment("config.yaml"), tmp_path))
    assert waits[Job("train", "retriever1")] >= {Job("train", "simlm"), Job("mine_negatives", "bm25"), Job("prepare_corpus")}
    assert waits[Job("train", "distilled")] >= {Job("score_teacher", "distilled"), Job("mine_negatives", "retriever2")}
    assert waits[Job("prepare_corpus")] == set()


@pytest.mark.parametrize("cores", [1, 2, 4, 64])
def test_wall_time_lies_between_the_bounds_of_every_schedule(tmp_path, cores):
    one = planner(experiment("config.yaml"), tmp_path)
    found = timeline(one, cores, 0)
    every = list(needs(one))
    lasts = {job: one.job(job).wall(asked(one.experiment, job)._replace(threads=min(cores, asked(one.experiment, job).threads))) for job in every}
    work = sum(lasts[job] * min(cores, asked(one.experiment, job).threads) for job in every)
    assert max(found.chain, work / cores) - 1e-6 <= found.wall <= sum(lasts.values()) + 1e-6
    if cores == 1:
        assert found.wall == pytest.approx(sum(one.job(job).cpu for job in every))
