"""The whole chain, through Snakemake, from an empty folder."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml

from simlm.config import load_experiment
from simlm.config.inputs import planned
from simlm.config.stages import canonical
from simlm.paths import Paths

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "config" / "smoke.yaml"
SYSTEMS = ["bm25", "control", "retriever1", "retriever2", "reranker", "distilled", "fusion"]


@pytest.fixture(scope="module")
def first(snakemake, tmp_path_factory):
    """One complete run of smoke, with its wall time in seconds."""
    folder = tmp_path_factory.mktemp("first")
    start = time.monotonic()
    done = snakemake(folder, "--cores", "2", configs=[SMOKE], seconds=900)
    assert done.code == 0, done.text[-5000:]
    return folder, time.monotonic() - start


def table(folder: Path, name: str = "smoke") -> bytes:
    return (folder / "results" / name / "metrics.tsv").read_bytes()


def test_every_promised_file_is_there(first):
    results = first[0] / "results" / "smoke"
    rows = [line.split("\t") for line in (results / "metrics.tsv").read_text().splitlines()]
    assert rows[0] == ["system", "split", "metric", "value", "ci_low", "ci_high", "n_queries"]
    assert list(dict.fromkeys(row[0] for row in rows[1:])) == SYSTEMS
    assert {row[1] for row in rows[1:]} == {"dev", "test"}
    assert all(0 <= float(row[4]) <= float(row[3]) <= float(row[5]) <= 1 for row in rows[1:])
    assert (results / "report.html").stat().st_size > 10_000
    assert json.loads((results / "mlflow.json").read_text())
    assert yaml.safe_load((results / "config.yaml").read_text())["name"] == "smoke"


def test_every_record_states_what_its_rule_reruns_on(first, monkeypatch):
    monkeypatch.chdir(first[0])
    paths = Paths(Path("results/smoke"))
    for job in planned(load_experiment(SMOKE), paths):
        record = json.loads(paths.record(job.job.label).read_text())
        assert (record["settings"], record["code"]) == (json.loads(canonical(job.settings)), job.code), job.job.label
        assert {name: entry["path"] for name, entry in record["inputs"].items()} == {name: str(path) for name, path in job.inputs.items()}, job.job.label


def test_bm25_is_far_above_chance(first):
    rows = [line.split("\t") for line in table(first[0]).decode().splitlines()[1:]]
    value = {(row[0], row[1], row[2]): float(row[3]) for row in rows}
    assert value["bm25", "test", "RR@10"] > 0.3


def test_a_second_run_does_nothing(snakemake, first):
    again = snakemake(first[0], "--cores", "8", "all", configs=[SMOKE])
    assert again.code == 0
    assert again.nothing_to_do, again.text


def test_a_changed_hyper_parameter_plans_only_what_follows(snakemake, first, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("models: {distilled: {learning_rate: 0.0005}}\n")
    plan = snakemake(first[0], "-n", "--cores", "2", configs=[SMOKE, overlay])
    assert [job for job in plan.jobs if job.startswith("Training")] == ["Training distilled"]
    assert not [job for job in plan.jobs if job.startswith(("Mining", "Scoring", "Re-ranking"))]
    assert len(plan.jobs) == 10


def test_the_same_commands_in_one_process_and_in_four_shards_give_identical_metrics(one_process, snakemake, first, tmp_path):
    # One run shows all: were two runs, other shards, or jobs side by side and each in a process of its own to differ, the tables would.
    shards = ("--set-scatter", "corpus=4")
    done = one_process(tmp_path, *shards, configs=[SMOKE])
    assert done.code == 0, done.text[-5000:]
    again = snakemake(tmp_path, "-n", "--cores", "2", *shards, configs=[SMOKE])
    assert again.nothing_to_do, again.text
    assert list((tmp_path / "results" / "smoke" / "embeddings" / "distilled").glob("*-of-4.json"))
    assert table(tmp_path) == table(first[0])


def test_snakemakes_own_report(snakemake, first):
    made = snakemake(first[0], "--report", "report.zip", configs=[SMOKE])
    assert made.code == 0, made.text[-3000:]
    assert (first[0] / "report.zip").stat().st_size > 10_000


def test_a_missing_corpus_folder_is_one_sentence(snakemake, tmp_path):
    values = yaml.safe_load(SMOKE.read_text())
    values["corpus"] = {"source": "beir", "path": "no-such-folder", "splits": {"train": "train", "dev": "dev", "test": "test"}}
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(values))
    refused = snakemake(tmp_path, "--cores", "1", "results/smoke/corpus/manifest.json", configs=[file])
    assert refused.code != 0
    assert "corpus.path: the folder no-such-folder does not exist" in refused.text
    assert "Traceback" not in refused.text
