"""What Snakemake plans to do: complete, nothing twice, and after a change exactly what follows from it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from simlm.config import load_experiment
from simlm.config.inputs import planned
from simlm.config.stages import canonical
from simlm.files import sha256_file, write_json
from simlm.paths import Paths

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "config" / "smoke.yaml"

AFTER_DISTILLED = {
    "Writing the resolved configuration",
    "Training distilled",
    "Embedding shard 1 of 1 with distilled",
    "Indexing the vectors of distilled",
    "Searching with distilled",
    "Fusing runs into fusion",
    "Judging all runs",
    "Comparing the systems",
    "Writing the report",
    "Mirroring the results to MLflow",
}


def overlay(folder: Path, **values) -> Path:
    file = folder / "overlay.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


@pytest.fixture(scope="module")
def finished(snakemake, tmp_path_factory):
    """A folder in which Snakemake believes that smoke has run: every output exists and is accepted with --touch."""
    folder = tmp_path_factory.mktemp("finished")
    summary = snakemake(folder, "--summary", "--cores", "1", "--quiet", configs=[SMOKE])
    files = [line.split("\t")[0] for line in summary.text.splitlines() if line.startswith("results/")]
    assert len(files) > 60
    config = next((folder / "results" / "smoke" / ".config").glob("*.yaml"))
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(f"content of {file}\n")
    shutil.copy(config, folder / "results" / "smoke" / "config.yaml")
    for job in planned(load_experiment(SMOKE), Paths(Path("results/smoke"))):
        inputs = {name: {"path": str(file), "sha256": sha256_file(folder / file)} for name, file in job.inputs.items()}
        write_json(
            folder / "results/smoke/stages" / f"{job.job.label}.json", {"settings": json.loads(canonical(job.settings)), "code": job.code, "inputs": inputs}
        )
    benchmarks = folder / "results" / "smoke" / "benchmarks"
    benchmarks.mkdir(exist_ok=True)
    for record in (folder / "results" / "smoke" / "stages").glob("*.json"):
        (benchmarks / f"{record.stem}.jsonl").write_text("{}\n")
    for local in ("write_config", "track"):  # stages without a record
        (benchmarks / f"{local}.jsonl").write_text("{}\n")
    touched = snakemake(folder, "--touch", "--forceall", "--cores", "1", configs=[SMOKE])
    assert touched.code == 0, touched.text
    return folder


def test_default_is_planned_without_a_configfile(snakemake, tmp_path):
    plan = snakemake(tmp_path, "-n", "--cores", "2")
    assert plan.code == 0, plan.text
    for model in ("simlm", "control", "retriever1", "retriever2", "reranker", "distilled"):
        assert f"Training {model}" in plan.jobs
    assert len(plan.jobs) == len(set(plan.jobs))
    explicit = snakemake(tmp_path, "-n", "--cores", "2", configs=[ROOT / "config" / "config.yaml"])
    assert sorted(explicit.jobs) == sorted(plan.jobs)


def test_an_overlay_may_bring_another_source(snakemake, tmp_path):
    (tmp_path / "data" / "qrels").mkdir(parents=True)
    for file in ("corpus.jsonl", "queries.jsonl", *(f"qrels/{split}.tsv" for split in ("train", "dev", "test"))):
        (tmp_path / "data" / file).write_text("")
    over = overlay(tmp_path, name="mine", corpus={"source": "beir", "path": "data", "splits": {name: name for name in ("train", "dev", "test")}})
    plan = snakemake(tmp_path, "-n", "--cores", "2", "--config", "seed=7", configs=[SMOKE, over])
    assert "Training distilled" in plan.jobs, plan.text
    written = yaml.safe_load(next((tmp_path / "results" / "mine" / ".config").glob("*.yaml")).read_text())
    assert written["seed"] == 7
    assert written["corpus"]["path"] == "data"
    assert "packages" not in written["corpus"]


def test_another_configfile_is_not_mixed_with_the_default(snakemake, tmp_path):
    values = yaml.safe_load(SMOKE.read_text())
    del values["models"]["control"]
    values["evaluate"]["systems"].remove("control")
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(values))
    plan = snakemake(tmp_path, "-n", "--cores", "2", configs=[file])
    assert "Training retriever1" in plan.jobs
    assert "Training control" not in plan.jobs


def test_nothing_to_be_done_twice(snakemake, finished):
    for cores in ("2", "8"):
        again = snakemake(finished, "-n", "--cores", cores, "all", configs=[SMOKE])
        assert again.nothing_to_do, again.text


def test_a_changed_learning_rate_reruns_only_what_follows(snakemake, finished, tmp_path):
    file = overlay(tmp_path, models={"distilled": {"learning_rate": 0.002}})
    plan = snakemake(finished, "-n", "--cores", "2", configs=[SMOKE, file])
    assert set(plan.jobs) == AFTER_DISTILLED


def test_a_longer_training_is_scored_anew_by_the_teacher(snakemake, finished, tmp_path):
    file = overlay(tmp_path, models={"distilled": {"steps": 31}})
    plan = snakemake(finished, "-n", "--cores", "2", configs=[SMOKE, file])
    assert set(plan.jobs) == {*AFTER_DISTILLED, "Scoring the passages that distilled will see with its teacher"}


def test_how_a_job_runs_is_no_reason_to_repeat_it(snakemake, finished, tmp_path):
    file = overlay(tmp_path, models={"distilled": {"threads": 2, "log_steps": 1}}, encoding={"threads": 2})
    plan = snakemake(finished, "-n", "--cores", "2", configs=[SMOKE, file])
    assert set(plan.jobs) == {"Writing the resolved configuration", "Writing the report", "Mirroring the results to MLflow"}


def test_depth_of_the_evaluated_runs_trains_nothing(snakemake, finished, tmp_path):
    file = overlay(tmp_path, models={"reranker": {"rerank_depth": 5}})
    plan = snakemake(finished, "-n", "--cores", "2", configs=[SMOKE, file])
    assert "Re-ranking with reranker" in plan.jobs
    assert not [job for job in plan.jobs if job.startswith(("Training", "Embedding", "Scoring"))]


JUDGED_AGAIN = {
    "Writing the resolved configuration",
    *(f"Searching with {system}" for system in ("BM25", "control", "retriever1", "retriever2", "distilled")),
    "Re-ranking with reranker",
    "Fusing runs into fusion",
    "Judging all runs",
    "Comparing the systems",
    "Writing the report",
    "Mirroring the results to MLflow",
}


@pytest.mark.parametrize(
    ("evaluate", "planned"),
    [
        ({"splits": {"train": {}}}, JUDGED_AGAIN),
        ({"depth": 30}, JUDGED_AGAIN),
        ({"metrics": ["RR@10", "R@50", "nDCG@10", "nDCG@20"]}, {job for job in JUDGED_AGAIN if not job.startswith(("Search", "Re-", "Fus"))}),
    ],
    ids=["split", "depth", "metric"],
)
def test_further_judging_mines_and_trains_nothing(snakemake, finished, tmp_path, evaluate, planned):
    plan = snakemake(finished, "-n", "--cores", "2", configs=[SMOKE, overlay(tmp_path, evaluate=evaluate)])
    assert set(plan.jobs) == planned, plan.text


def test_a_search_that_is_done_again_for_its_mined_run_judges_nothing(snakemake, finished, tmp_path):
    plan = snakemake(finished, "-n", "--cores", "2", configs=[SMOKE, overlay(tmp_path, negatives={"depth": 31})])
    assert {"Searching the training queries with BM25", "Mining hard negatives from bm25", "Training retriever1"} <= set(plan.jobs)
    assert "Searching with BM25" not in plan.jobs


def test_more_shards_encode_and_index_again(snakemake, finished):
    plan = snakemake(finished, "-n", "--cores", "2", "--set-scatter", "corpus=4", configs=[SMOKE])
    assert "Embedding shard 4 of 4 with distilled" in plan.jobs
    assert "Training simlm" not in [job for job in plan.jobs if "shard" in job]


def test_a_model_that_no_evaluated_system_needs(snakemake, tmp_path):
    extra = {"kind": "biencoder", "init": "simlm", "negatives": "control", "steps": 3, "passage_length": 48, "query_length": 16}
    file = overlay(tmp_path, models={"variant": extra})
    plan = snakemake(tmp_path, "-n", "--cores", "2", configs=[SMOKE, file])
    assert "Training variant" not in plan.jobs
    asked = snakemake(tmp_path, "-n", "--cores", "2", "results/smoke/models/variant/simlm.json", configs=[SMOKE, file])
    assert asked.code == 0, asked.text
    assert {"Training variant", "Mining hard negatives from control", "Searching the training queries with control"} <= set(asked.jobs)
    assert "Training distilled" not in asked.jobs


def test_an_evaluated_encoder_that_is_searched_for_itself_alone(snakemake, tmp_path):
    file = overlay(tmp_path, evaluate={"systems": ["retriever1"], "baseline": "retriever1"})
    plan = snakemake(tmp_path, "-n", "--cores", "2", configs=[SMOKE, file])
    assert plan.code == 0, plan.text
    assert not {"Training distilled", "Fusing runs into fusion", "Re-ranking with reranker"} & set(plan.jobs)
    assert {"Searching the training queries with BM25", "Searching with retriever1"} <= set(plan.jobs)
    assert "Searching with BM25" not in plan.jobs


@pytest.mark.parametrize(
    ("values", "fragments"),
    [
        ({"models": {"distilled": {"init": "simln"}}}, ["overlay.yaml:", "models.distilled.init", "did you mean 'simlm'?"]),
        ({"modles": {}}, ["overlay.yaml:1", "did you mean 'models'?"]),
        ({"models": {"retriever1": {"negatives": "distilled"}}}, ["waits for itself"]),
        ({"models": {"base": {"batch_size": -1}}}, ["models.base.batch_size", "not -1"]),
    ],
)
def test_mistakes_are_one_sentence_before_any_job(snakemake, tmp_path, values, fragments):
    refused = snakemake(tmp_path, "-n", configs=[SMOKE, overlay(tmp_path, **values)])
    assert refused.code != 0
    lines = [line for line in refused.text.splitlines() if "Using workflow specific profile" not in line]
    assert len(lines) == 1, refused.text
    for fragment in fragments:
        assert fragment in lines[0]
    assert not (tmp_path / "results").exists()


def test_lint_and_format():
    lint = subprocess.run([sys.executable, "-m", "snakemake", "--lint"], cwd=ROOT, capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout + lint.stderr
    form = subprocess.run([str(Path(sys.executable).with_name("snakefmt")), "--check", "workflow"], cwd=ROOT, capture_output=True, text=True)
    assert form.returncode == 0, form.stdout + form.stderr


def test_the_workflow_imports_nothing_heavy():
    program = (
        "import sys\n"
        "import simlm.config, simlm.config.code, simlm.config.stages, simlm.files, simlm.hardware, simlm.paths\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'mlflow', 'numpy', 'pandas', 'scipy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "[]"
