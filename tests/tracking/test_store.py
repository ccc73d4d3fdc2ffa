import os
import sqlite3

import pytest
from made_results import MadeResults

from simlm.errors import UserError
from simlm.tracking.store import exclusive, initialise, open_client, store_of


def test_the_default_store_is_absolute_and_beside_the_experiments(made, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = store_of(made.experiment, made.paths.root.parent)
    results = made.paths.root.parent.resolve()
    assert store.uri == f"sqlite:///{results}/mlflow.db"
    assert store.artifacts == results / "mlartifacts"
    assert not store.is_server


def test_the_environment_selects_a_server_and_the_configuration_comes_first(tmp_path, made, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example:5000")
    assert store_of(made.experiment, tmp_path).is_server
    configured = MadeResults(tmp_path / "other", tracking={"uri": f"sqlite:///{tmp_path}/own.db"})
    assert store_of(configured.experiment, tmp_path).uri == f"sqlite:///{tmp_path}/own.db"


def test_a_folder_is_refused(tmp_path, made, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    with pytest.raises(UserError, match="is a folder, which MLflow no longer writes to"):
        store_of(made.experiment, tmp_path).check()


def test_initialising_twice_gives_the_same_experiment(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "f" * 32)
    with exclusive(store):
        _, first = initialise(store)
        _, second = initialise(store)
    assert first == second
    assert "MLFLOW_RUN_ID" not in os.environ
    with sqlite3.connect(store.uri.removeprefix("sqlite:///")) as connection:
        assert connection.execute("select count(*) from experiments where name = 'simlm'").fetchone() == (1,)


def test_a_deleted_experiment_is_explained(store):
    client, identity = initialise(store)
    client.delete_experiment(identity)
    with pytest.raises(UserError, match="was deleted; restore it"):
        initialise(store, client)


def test_an_experiment_of_a_server_is_not_written_behind_its_back(store):
    client = open_client(store)
    client.create_experiment(store.experiment, artifact_location="mlflow-artifacts:/1")
    with pytest.raises(UserError, match="was created through a server"):
        initialise(store, client)
