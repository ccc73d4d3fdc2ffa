"""Two results folders of one configuration, copies, and stores that cannot be used."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter

import pytest
from made_results import MadeResults

from simlm.cli import main
from simlm.files import sha256_file
from simlm.records.stages import read_stages

KEPT = {"prepare_corpus", "train.simlm", "train.distilled", "evaluate"}


def shorten(made):
    for file in (made.paths.root / "stages").glob("*.json"):
        if file.stem not in KEPT:
            file.unlink()
    return made


@pytest.fixture
def few(made, store):
    return shorten(made)


def track(made_or_file, *more):
    return main(["track", "--config", str((getattr(made_or_file, "paths", None) and made_or_file.paths.config) or made_or_file), *more])


def counts(file, status="active"):
    with sqlite3.connect(file) as database:
        return Counter(
            name for (name,) in database.execute(
                "select t.value from runs r join tags t using (run_uuid) where t.key = 'simlm.stage' and r.lifecycle_stage = ?", (status,)
            )
        )  # fmt: skip


def files_below(folder):
    return {str(file.relative_to(folder)): sha256_file(file) for file in sorted(folder.rglob("*")) if file.is_file()}


def test_two_folders_of_one_configuration_leave_each_other_alone(few, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{few.paths.root.parent / 'mlflow.db'}")
    other = shorten(MadeResults(tmp_path / "other"))
    other.stage("train.distilled", key="f" * 16)
    for made in (few, other, few, other):
        assert track(made, "--strict") == 0
    stages = [stage.name for stage in read_stages(few.experiment, few.paths)]
    file = few.paths.root.parent / "mlflow.db"
    assert counts(file) == Counter(dict.fromkeys([*stages, "experiment"], 2)), "one run per stage and owner"
    assert counts(file, "deleted") == Counter()
    ids = [{run["run_id"] for run in json.loads(made.paths.mirror.read_text())["stages"].values()} for made in (few, other)]
    assert not ids[0] & ids[1]


def test_a_copied_results_folder_writes_nothing_into_the_original(few, tmp_path):
    assert track(few, "--strict") == 0
    original = few.paths.root.parent
    copy = tmp_path / "copy"
    shutil.copytree(original, copy)
    before = files_below(original)
    few_copy = copy / few.paths.root.name / "config.yaml"
    assert main(["track", "--strict", "--config", str(few_copy), "--results", str(copy)]) == 0
    assert files_below(original) == before
    there = json.loads((copy / few.paths.root.name / "mlflow.json").read_text())
    assert there["parent"]["run_id"] != json.loads(few.paths.mirror.read_text())["parent"]["run_id"]
    with sqlite3.connect(copy / "mlflow.db") as database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location")):
            found = [value for (value,) in database.execute(f"select {column} from {table}") if value and "mlartifacts" in value]
            assert found
            assert all(value.startswith((copy / "mlartifacts").as_uri()) for value in found), table
    artifacts = list((copy / "mlartifacts").glob(f"{there['parent']['run_id']}/artifacts/*"))
    assert artifacts


def test_a_moved_results_folder_keeps_its_runs(few, tmp_path):
    assert track(few, "--strict") == 0
    before = json.loads(few.paths.mirror.read_text())
    moved = few.paths.root.parent.rename(tmp_path / "moved")
    assert main(["track", "--strict", "--config", str(moved / "made" / "config.yaml"), "--results", str(moved)]) == 0
    after = json.loads((moved / "made" / "mlflow.json").read_text())
    assert after["stages"] == before["stages"]
    assert not few.paths.root.parent.exists(), "nothing is written where it was"


def test_a_failed_replay_keeps_the_ids_of_a_complete_one(few, monkeypatch):
    assert track(few, "--strict") == 0
    before = json.loads(few.paths.mirror.read_text())
    for gone in (False, True):
        if gone:
            few.paths.mirror.unlink()  # as Snakemake does before it runs the rule again
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        assert track(few) == 0
        after = json.loads(few.paths.mirror.read_text())
        assert (after["stages"], after["parent"], after["uri"]) == (before["stages"], before["parent"], before["uri"])
        assert after["complete"] is False
        assert after["failed"]["uri"] == "http://127.0.0.1:9"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert track(few, "--strict") == 0
    assert json.loads(few.paths.mirror.read_text())["stages"] == before["stages"]


@pytest.mark.parametrize("uri", ["databricks", "./mlruns", "file:///tmp/mlruns", "sqlite:////proc/no/mlflow.db", "nonsense://x"])
def test_a_store_that_cannot_be_used_is_a_warning(few, monkeypatch, capsys, uri):
    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert track(few, "--init") == 0
    assert track(few) == 0
    assert "Warning: MLflow at" in capsys.readouterr().err
    assert json.loads(few.paths.mirror.read_text())["complete"] is False
    assert track(few, "--strict") == 2


def test_a_store_that_is_read_only_is_a_warning(few, monkeypatch, capsys):
    # Not by the file's mode, which does not hold for everybody who may run this.
    file = few.paths.root.parent / "mlflow.db"
    with sqlite3.connect(file) as database:
        database.execute("create trigger closed before insert on experiments begin select raise(abort, 'attempt to write a readonly database'); end")
    assert track(few) == 0
    assert "readonly database" in capsys.readouterr().err
    assert track(few, "--strict") == 2


def test_a_deleted_experiment_is_a_warning(few, capsys):
    assert track(few, "--strict") == 0
    with sqlite3.connect(few.paths.root.parent / "mlflow.db") as database:
        database.execute("update experiments set lifecycle_stage = 'deleted' where name = 'simlm'")
    assert track(few) == 0
    assert "was deleted; restore it" in capsys.readouterr().err
    assert json.loads(few.paths.mirror.read_text())["stages"], "its ids stay"
    assert track(few, "--strict") == 2
