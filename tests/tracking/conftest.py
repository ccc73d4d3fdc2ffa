"""A local MLflow store whose tables are ready."""

import shutil

import pytest

from simlm.tracking.store import Store, open_client, store_of


@pytest.fixture(scope="session")
def empty_tables(tmp_path_factory):
    """MLflow's tables without any experiment: making them takes seconds, copying them does not."""
    file = tmp_path_factory.mktemp("tables") / "mlflow.db"
    open_client(Store(f"sqlite:///{file}", None, "none", file.with_suffix(".lock"))).get_experiment_by_name("simlm")
    return file


@pytest.fixture
def store(made, monkeypatch, empty_tables):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_tables, made.paths.root.parent / "mlflow.db")
    return store_of(made.experiment, made.paths.root.parent)
