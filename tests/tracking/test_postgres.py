"""MLflow on PostgreSQL, both real: stages that write at once, a server and a database that are killed and come back."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from services import MlflowServer, running_postgres, why_no_postgres

from simlm.cli import main
from simlm.paths import Paths
from simlm.records.stages import read_stages
from simlm.training.history import read_history

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_no_postgres() is not None, reason=str(why_no_postgres()))]

STAGES = 8
DOUBLE = "select run_uuid, key, step, count(*) from metrics group by run_uuid, key, step having count(*) > 1"
ACTIVE = "select t.value, count(*) from runs r join tags t on t.run_uuid = r.run_uuid and t.key = 'simlm.stage' where r.lifecycle_stage = 'active'"


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    """A database and a server that uses it."""
    with running_postgres() as database:
        server = MlflowServer(database.uri, tmp_path_factory.mktemp("mlflow") / "artifacts")
        server.folder.mkdir()
        try:
            server.start()
            yield database, server
        finally:
            server.kill()


def crash(database, server) -> None:
    """Nobody gets to say goodbye: not the server, not the database behind it."""
    server.kill()
    database.stop("immediate")


def come_back(database, server) -> None:
    database.start()
    server.start()


def wait_until(true, process: subprocess.Popen, what: str, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, f"it ended before {what}: {process.communicate()}"
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds} s"
        time.sleep(0.05)


def quick_failures(uri: str) -> dict[str, str]:
    return {**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "OMP_NUM_THREADS": "1"}


def eight_trainings(folder: Path, tokenizer) -> tuple[Path, Paths]:
    """A configuration with eight models that differ by their seeds."""
    from training.finetuning import make_context

    block = {"kind": "biencoder", "hard_negatives": 2, "batch_size": 8, "steps": 300, "log_steps": 5, "learning_rate": 1e-3, "threads": 1, "holdout": 0}
    block |= {"query_length": 12, "passage_length": 24, "negatives": "bm25"}
    context = make_context(folder, tokenizer, {f"model{i}": {**block, "seed": i} for i in range(STAGES)})
    file = folder / "experiment.yaml"
    file.write_text(yaml.safe_dump({**context.experiment.model_dump(mode="json"), "tracking": {"live": True, "experiment": "eight"}}))
    return file, context.paths


def test_the_server_answers_to_its_own_name_alone(services):
    _, server = services
    for host, expected in ((f"127.0.0.1:{server.port}", 200), ("evil.example", 403)):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
        connection.request("GET", "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default", headers={"Host": host})
        assert connection.getresponse().status == expected, host
        connection.close()


def test_eight_trainings_outlive_a_crash_of_the_server(services, tmp_path, word_tokenizer, monkeypatch):
    database, server = services
    file, paths = eight_trainings(tmp_path, word_tokenizer)
    calls = tmp_path / "calls.json"
    calls.write_text(json.dumps([["train", "--config", str(file), "--model", f"model{i}"] for i in range(STAGES)]))
    command = [sys.executable, str(Path(__file__).with_name("together.py")), str(calls)]
    work = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=quick_failures(server.uri))
    try:
        wait_until(lambda: database.ask("select count(distinct run_uuid) from metrics")[0][0] >= STAGES // 2, work, "points of half of them arrived")
        crash(database, server)
        come_back(database, server)
        out, err = work.communicate(timeout=900)
    finally:
        work.kill()
    assert json.loads(out.splitlines()[-1]) == [0] * STAGES, err[-3000:]
    # On a busy machine some have ended before the others are half way.
    assert err.count("`simlm track` will mirror them from the history file") >= STAGES // 2, "the crash came too late"

    curves = {f"train.model{i}": [(line["step"], line["loss"]) for line in read_history(paths.history(f"model{i}"))] for i in range(STAGES)}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    lost = database.ask("select count(*) from metrics where key = 'loss'")[0][0]
    assert 0 < lost < sum(map(len, curves.values()))
    assert main(["track", "--config", str(file), "--strict"]) == 0
    stored = database.ask(
        "select t.value, m.step, m.value from metrics m join tags t on t.run_uuid = m.run_uuid and t.key = 'simlm.stage' "
        "where m.key = 'loss' order by t.value, m.step"
    )
    assert stored == [(stage, step, value) for stage, curve in sorted(curves.items()) for step, value in curve]
    assert database.ask(DOUBLE) == []
    assert dict(database.ask(f"{ACTIVE} group by t.value")) == dict.fromkeys([*curves, "experiment"], 1)
    assert database.ask("select distinct status from runs where lifecycle_stage = 'active'") == [("FINISHED",)]

    everything = database.ask("select count(*) from metrics")
    assert main(["track", "--config", str(file), "--strict"]) == 0
    assert database.ask("select count(*) from metrics") == everything
    assert json.loads(paths.mirror.read_text())["complete"] is True


def test_a_replay_cut_off_by_a_crash_is_completed_by_the_next(services, made, tmp_path, monkeypatch, capfd):
    database, server = services
    values = {**yaml.safe_load(made.paths.config.read_text()), "tracking": {"experiment": "cut off"}}
    made.paths.config.write_text(yaml.safe_dump(values))
    stages = read_stages(made.experiment, made.paths)
    arguments = ["track", "--config", str(made.paths.config)]
    ours = "experiment_id = (select experiment_id from experiments where name = 'cut off')"
    work = subprocess.Popen([sys.executable, "-m", "simlm.cli", *arguments], stderr=subprocess.PIPE, text=True, env=quick_failures(server.uri))
    try:
        wait_until(lambda: database.ask(f"select count(*) from runs where status = 'FINISHED' and {ours}")[0][0] >= 5, work, "five stages were mirrored")
        crash(database, server)
        _, err = work.communicate(timeout=600)
    finally:
        work.kill()
    assert work.returncode == 0
    assert "cannot be used" in err
    assert json.loads(made.paths.mirror.read_text())["complete"] is False
    come_back(database, server)
    assert database.ask(f"select count(*) from runs where status = 'FINISHED' and {ours}")[0][0] < len(stages)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    assert main([*arguments, "--strict"]) == 0
    names = [stage.name for stage in stages]
    assert dict(database.ask(f"{ACTIVE} and r.{ours} group by t.value")) == dict.fromkeys([*names, "experiment"], 1)
    assert database.ask(DOUBLE) == []
    models = database.ask(f"select name, count(*) from logged_models where lifecycle_stage = 'active' and {ours} group by name")
    assert dict(models) == dict.fromkeys(made.experiment.evaluate.systems, 1)
    _, err = capfd.readouterr()
    written = int(err.split(" stages written")[0].split()[-1])
    assert 0 < written <= len(stages) - 5
    for name, run in json.loads(made.paths.mirror.read_text())["stages"].items():
        files = {file.name for file in server.folder.glob(f"*/{run['run_id']}/artifacts/*")}
        assert {"record.json", "outputs.json"} <= files, name
