"""A reduced smoke experiment through a real Slurm, with the project's profile, while its jobs are cancelled and killed.

One run meets it all: two processes per training, shards as separate jobs, a job that needs more memory than it asked for,
one that hangs until its time limit, one that is cancelled from outside. Nobody helps it along.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import slurm as one_node
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

# Stages that take seconds share a submission. In the first attempt one job has too little memory and one too little time.
MINUTES = max(1, min(20, round(os.getloadavg()[0] / (os.cpu_count() or 1))))
OPTIONS = [
    "--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2", "--latency-wait", "5",
    "--groups", "prepare_corpus=corpus", "train_tokenizer=corpus", "search_bm25=lexical", "search_bm25_train=lexical", "mine_negatives=lexical",
    "build_index=search", "search_index=search", "evaluate=judge", "compare_systems=judge", "report=judge",
    "--set-resources", "index_bm25:mem_mb=60 if attempt == 1 else 1000", f"train:runtime={MINUTES} if attempt == 1 else 30",
    *(f"{rule}:mem_mb=1200" for rule in ("prepare_corpus", "train_tokenizer", "search_bm25", "search_bm25_train", "mine_negatives", "encode")),
    "train:mem_mb=3000",  # two processes, their launcher and Snakemake
    *(f"{rule}:mem_mb=1200" for rule in ("build_index", "search_index", "evaluate", "compare_systems", "report")),
]  # fmt: skip


def configuration() -> dict:
    """Smoke with one retriever that starts from the base, two processes and two shards."""
    values = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    models = values["models"]
    base, retriever = models["base"], {**models["retriever1"], "init": "base", "holdout": 0}
    retriever.update(processes=2, checkpoint_steps=5)
    base.update(processes=2, checkpoint_steps=2, steps=40, log_steps=10)
    values["models"] = {"base": base, "retriever": retriever}
    values |= {"name": "slurm", "precision": "fp32", "encoding": {"shards": 2, "threads": 1}}
    values["evaluate"] |= {"systems": ["bm25", "retriever"]}
    return values


def queue() -> list[str]:
    """Slurm's jobs, ended ones too: number, state, memory asked for, and what Snakemake calls them."""
    return subprocess.run(["squeue", "--noheader", "--states", "all", "--format", "%A|%T|%m|%k"], capture_output=True, text=True).stdout.splitlines()


class Run:
    """The workflow in a folder, and what happened to it from outside."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.results = folder, folder / "results" / "slurm"
        (folder / "config.yaml").write_text(yaml.safe_dump(configuration()))
        self.log = folder / "snakemake.log"
        self.stopped = self.cancelled = self.end_time = None
        self.submissions: dict[str, set[str]] = {}
        self.states: dict[str, str] = {}
        self.memory: dict[str, str] = {}
        self.earlier: set[str] = set()

    def go(self, seconds: float, target: str = "all") -> int:
        """Run to the end while one training hangs and one shard is cancelled; returns the exit code."""
        self.earlier = {line.split("|")[0] for line in queue()}
        profile = ROOT / "workflow" / "profiles" / "slurm"
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile"), "--directory", str(self.folder)]
        command += ["--workflow-profile", str(profile), "--configfile", str(self.folder / "config.yaml"), *OPTIONS, "--", target]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "OMP_", "SLURM_"))}
        end = time.monotonic() + seconds
        with open(self.log, "w") as output:
            driver = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=self.folder, env=environment)
            try:
                while driver.poll() is None and time.monotonic() < end:
                    self.watch()
                    time.sleep(0.2)
            finally:
                if driver.poll() is None:
                    driver.send_signal(signal.SIGINT)
                    driver.wait(60)
        self.watch()
        return driver.returncode

    def watch(self) -> None:
        """Note Slurm's jobs; stop the first attempt of ``base`` after a checkpoint; cancel the first attempt of a shard."""
        for line in queue():
            job, state, memory, comment = line.split("|", 3)
            if job in self.earlier:
                continue
            self.states[job], self.memory[job] = state, memory
            self.submissions.setdefault(comment, set()).add(job)
            if "encode" in comment and state == "RUNNING" and self.cancelled is None:
                self.cancelled = job
                subprocess.run(["scancel", job], check=True)
        if self.stopped is None and list((self.results / "training" / "base").glob("checkpoint-*/complete.json")):
            self.stopped = self.hang()

    def hang(self) -> list[int] | None:
        """Stop the processes of the training with SIGSTOP, as a hung file system would."""
        found = [process for process in psutil.process_iter(["cmdline"]) if {"simlm.cli", "train", "base"} <= set(process.info["cmdline"] or ())]
        workers = [process for process in found if "simlm.launch" not in process.info["cmdline"]]
        if len(workers) < 2:
            return None
        self.end_time = float(workers[0].environ()["SIMLM_END_TIME"]) - workers[0].create_time()
        for process in workers:
            process.send_signal(signal.SIGSTOP)
        return [process.pid for process in workers]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A running Slurm; skips where none can be started."""
    reason = one_node.missing()
    if reason:
        pytest.skip(reason)
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="the Slurm plugin is not installed: pip install -e '.[slurm]'")
    folder = tmp_path_factory.mktemp("slurm")
    try:
        one_node.start(folder)
        yield one_node
    finally:
        one_node.stop(folder)


@pytest.fixture(scope="module")
def run(slurm, tmp_path_factory):
    made = Run(tmp_path_factory.mktemp("run"))
    made.code = made.go(2400)
    made.text = made.log.read_text()
    return made


@pytest.fixture(scope="module")
def indexed(slurm, tmp_path_factory):
    """The workflow as far as the index, of which the first attempt has too little memory."""
    made = Run(tmp_path_factory.mktemp("indexed"))
    made.code = made.go(600, "results/slurm/bm25/manifest.json")
    return made


def log_of(run: Run, stage: str) -> str:
    return (run.results / "logs" / f"{stage}.log").read_text()


def jobs_of(run: Run, rule: str) -> list[str]:
    """States of the submissions of a rule, in their order."""
    return [run.states[job] for comment, jobs in run.submissions.items() if rule in comment for job in sorted(jobs, key=int)]


def test_the_run_ends_well(run):
    assert run.code == 0, run.text[-6000:]
    rows = [line.split("\t") for line in (run.results / "metrics.tsv").read_text().splitlines()[1:]]
    assert {row[0] for row in rows} == {"bm25", "retriever"}
    assert (run.results / "report.html").exists()


def test_trainings_ran_in_two_processes(run):
    for model in ("base", "retriever"):
        record = json.loads((run.results / "stages" / f"train.{model}.json").read_text())
        assert record["notes"]["processes"] == 2
        assert f"Training {model}" in log_of(run, f"train.{model}")


def test_shards_are_jobs_of_their_own_and_the_cancelled_one_came_again(run):
    assert run.cancelled is not None
    assert run.states[run.cancelled] == "CANCELLED"
    states = jobs_of(run, "encode")
    assert sorted(states) == ["CANCELLED", "COMPLETED", "COMPLETED"]
    assert f"SLURM-job '{run.cancelled}' failed" in run.text


def test_a_job_killed_for_its_memory_is_submitted_again_with_more(indexed):
    assert indexed.code == 0, indexed.log.read_text()[-6000:]
    first, second = (job for comment, jobs in indexed.submissions.items() if "index_bm25" in comment for job in sorted(jobs, key=int))
    assert indexed.states[first] in ("FAILED", "OUT_OF_MEMORY")
    assert indexed.states[second] == "COMPLETED"
    assert (indexed.memory[first], indexed.memory[second]) == ("60M", "1000M"), "what was asked of Slurm"


def test_a_job_knows_its_end_and_after_the_time_limit_the_training_goes_on(run):
    assert run.stopped, "the training was over before it could be stopped"
    assert 30 * MINUTES < run.end_time <= 60 * MINUTES + 5
    assert "TIMEOUT" in run.states.values()
    assert re.search(r"Resuming from .*/training/base/checkpoint-\d+", log_of(run, "train.base"))
    history = [json.loads(line) for line in (run.results / "training" / "base.history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in history] == list(range(2, 41, 2))
    assert not (run.results / "training" / "base").exists(), "checkpoints stay after the end of the run"
