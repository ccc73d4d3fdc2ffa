"""Servers that lose answers, say nothing, or never come to an end."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
from services import LossyProxy, answering, dripping, running_mlflow, silent

from simlm.cli import main
from simlm.records.stages import read_stages
from simlm.tracking.live import LiveMirror
from simlm.tracking.patience import PatientClient, TookTooLong, within
from simlm.tracking.store import open_client, store_of

KEPT = {"prepare_corpus", "train.simlm", "train.distilled", "evaluate"}


@pytest.fixture
def few(made):
    for file in (made.paths.root / "stages").glob("*.json"):
        if file.stem not in KEPT:
            file.unlink()
    return made


@pytest.mark.parametrize("kind", [silent, dripping])
def test_a_server_that_never_answers_costs_track_a_few_seconds(few, monkeypatch, capsys, kind):
    with answering(kind) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        before = time.monotonic()
        assert main(["track", "--config", str(few.paths.config)]) == 0
    assert time.monotonic() - before < 15
    assert f"Warning: MLflow at {address} cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [silent, dripping])
def test_a_server_that_never_answers_costs_a_training_two_seconds(few, monkeypatch, capsys, kind):
    with answering(kind) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        live = LiveMirror(few.context, "train.simlm", "k")
        spent = 0.0
        for step in range(200):
            before = time.monotonic()
            live.log(step, {"loss": 1.0})
            spent += time.monotonic() - before
        before = time.monotonic()
        live.close()
        spent += time.monotonic() - before
    assert spent < 3
    assert capsys.readouterr().err.count("`simlm track` will mirror them") == 1


def test_every_call_has_a_total_time(few, monkeypatch):
    with answering(dripping) as address:
        from mlflow import MlflowClient

        for name, value in (("MAX_RETRIES", "0"), ("TIMEOUT", "1")):
            monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)
        client = PatientClient(MlflowClient(address), seconds=2)
        before = time.monotonic()
        with pytest.raises(TookTooLong, match="MLflow's get_experiment_by_name gave no whole answer in 2 s"):
            client.get_experiment_by_name("simlm")
        assert 1.9 < time.monotonic() - before < 6


def test_a_replay_has_a_total_time():
    class Slow:
        def get_run(self):
            time.sleep(0.3)

    client = PatientClient(Slow(), seconds=1, total=0.5)
    client.get_run()
    with pytest.raises(TookTooLong, match="gave no whole answer"):
        client.get_run()
    with pytest.raises(TookTooLong, match="altogether"):
        client.get_run()


def test_what_goes_wrong_inside_comes_out():
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_mlflow(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


def active(store):
    client = open_client(store)
    return client.search_runs([client.get_experiment_by_name(store.experiment).experiment_id], max_results=1000)


@pytest.mark.slow
def test_lost_answers_make_no_second_run_and_leave_none_running(few, server, monkeypatch):
    seen: Counter[str] = Counter()

    def loses(method, path):
        seen[path] += 1
        # Every first answer to each kind of request that changes something, and every third creation of a run.
        return method == "POST" and not path.endswith("search") and (seen[path] == 1 or (path.endswith("runs/create") and seen[path] % 3 == 0))

    proxy = LossyProxy(server.uri, loses)
    with proxy.running() as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        assert main(["track", "--strict", "--config", str(few.paths.config)]) == 0
        few.stage("train.distilled", key="f" * 16)
        assert main(["track", "--strict", "--config", str(few.paths.config)]) == 0
    for kind in ("runs/create", "runs/delete", "runs/log-batch", "runs/update", "experiments/create", "logged-models"):
        assert any(path.endswith(kind) for path in proxy.lost), kind
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    runs = active(store_of(few.experiment, few.paths.root.parent))
    stages = Counter(run.data.tags["simlm.stage"] for run in runs)
    assert stages == Counter([*(stage.name for stage in read_stages(few.experiment, few.paths)), "experiment"])
    assert {run.info.status for run in runs} == {"FINISHED"}
    client = open_client(store_of(few.experiment, few.paths.root.parent))
    losses = client.get_metric_history(next(run.info.run_id for run in runs if run.data.tags["simlm.stage"] == "train.simlm"), "loss")
    assert len(losses) == len({point.step for point in losses}) == 20


@pytest.mark.slow
def test_doubles_and_abandoned_runs_of_ours_are_ended_and_others_left_alone(few, server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    few.paths.config.write_text(few.paths.config.read_text() + "tracking: {experiment: doubles}\n")
    arguments = ["track", "--strict", "--config", str(few.paths.config)]
    assert main(arguments) == 0
    written = json.loads(few.paths.mirror.read_text())
    client = open_client(store_of(few.experiment, few.paths.root.parent))
    tags = dict(client.get_run(written["stages"]["train.simlm"]["run_id"]).data.tags)
    double = client.create_run(written["experiment_id"], tags={name: value for name, value in tags.items() if name != "simlm.digest"})
    abandoned = client.create_run(written["experiment_id"], tags={"simlm.owner": tags["simlm.owner"], "simlm.stage": "train.x"})
    foreign = client.create_run(written["experiment_id"], tags={**tags, "simlm.owner": "somebody else"})
    assert main(arguments) == 0
    assert json.loads(few.paths.mirror.read_text())["stages"] == written["stages"]
    assert (client.get_run(double.info.run_id).info.lifecycle_stage, client.get_run(double.info.run_id).info.status) == ("deleted", "KILLED")
    assert client.get_run(abandoned.info.run_id).info.status == "KILLED"
    assert client.get_run(abandoned.info.run_id).info.lifecycle_stage == "active"
    assert (client.get_run(foreign.info.run_id).info.lifecycle_stage, client.get_run(foreign.info.run_id).info.status) == ("active", "RUNNING")


@pytest.mark.slow
def test_a_live_run_is_ended_with_its_training(few, server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    few.paths.config.write_text(few.paths.config.read_text() + "tracking: {experiment: live}\n")
    from simlm.config import load_experiment
    from simlm.context import Context

    context = Context(load_experiment(few.paths.config), few.paths)
    key = json.loads(few.paths.record("train.simlm").read_text())["key"]
    for steps in (range(1, 4), range(3, 6)):
        live = LiveMirror(context, "train.simlm", key)
        for step in steps:
            live.log(step, {"loss": 1.0})
        live.close(60)
        runs = {run.data.tags["simlm.stage"]: run for run in active(store_of(context.experiment, few.paths.root.parent))}
        assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert set(runs) == {"experiment", "train.simlm"}
    client = open_client(store_of(context.experiment, few.paths.root.parent))
    assert sorted(point.step for point in client.get_metric_history(runs["train.simlm"].info.run_id, "loss")) == [1, 2, 3, 4, 5]
    assert main(["track", "--strict", "--config", str(few.paths.config)]) == 0
    assert json.loads(few.paths.mirror.read_text())["stages"]["train.simlm"]["run_id"] == runs["train.simlm"].info.run_id
