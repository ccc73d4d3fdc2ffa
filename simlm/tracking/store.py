"""Which MLflow store an experiment uses, and its one-time preparation."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from simlm.config import Experiment
from simlm.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Store:
    """Where runs go.

    Attributes
    ----------
    uri
        Tracking URI; a sqlite file is given by its absolute path.
    artifacts
        Folder of the artifacts of a local store; None: the server decides.
    experiment
        Name of the MLflow experiment.
    lock
        File that serialises writers of this machine.
    """

    uri: str
    artifacts: Path | None
    experiment: str
    lock: Path

    @property
    def is_server(self) -> bool:
        """Whether a server is between us and the database."""
        return self.uri.startswith(("http://", "https://", "databricks"))

    @property
    def shown(self) -> str:
        """The URI without a password.

        >>> Store("postgresql://me:secret@db/x", None, "simlm", Path("l")).shown
        'postgresql://me:***@db/x'
        """
        parts = urlsplit(self.uri)
        if not parts.password:
            return self.uri
        return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))

    def without_password(self, text: str) -> str:
        """A message of a library, which may quote the URI."""
        password = urlsplit(self.uri).password
        return text.replace(password, "***") if password else text


def store_of(experiment: Experiment, results: Path) -> Store:
    """Resolve the store: the configuration, or MLFLOW_TRACKING_URI, or a sqlite file in the results folder.

    Raises
    ------
    UserError
        If a folder is named: MLflow no longer writes file stores.
    """
    results = results.resolve()
    lock = results / ".mlflow.lock"
    uri = experiment.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return Store(f"sqlite:///{results / 'mlflow.db'}", results / "mlartifacts", experiment.tracking.experiment, lock)
    scheme = urlsplit(uri).scheme
    if scheme in ("", "file"):
        raise UserError(f"tracking uri '{uri}' is a folder, which MLflow no longer writes to; give sqlite:///<file>, or the address of a server, or nothing")
    if scheme == "sqlite":
        file = Path(uri.removeprefix("sqlite:///")).expanduser().resolve()
        return Store(f"sqlite:///{file}", file.parent / "mlartifacts", experiment.tracking.experiment, lock)
    return Store(uri, None, experiment.tracking.experiment, lock)


def open_client(store: Store) -> MlflowClient:
    """A client that is quiet, sends no telemetry and does not wait for minutes on a dead server."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    # Read by mlflow's fluent functions, it would make every run look like the one it names.
    os.environ.pop("MLFLOW_RUN_ID", None)
    from mlflow import MlflowClient

    # After the import, which sets levels of its own.
    for noisy in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    return MlflowClient(tracking_uri=store.uri, registry_uri=store.uri)


@contextmanager
def exclusive(store: Store) -> Iterator[None]:
    """Let one process of this machine at a time create tables, experiments and runs."""
    from filelock import FileLock

    store.lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(store.lock):
        yield


def initialise(store: Store, client: MlflowClient | None = None) -> tuple[MlflowClient, str]:
    """Create or upgrade the tables and the experiment; returns the client and the experiment's id.

    Call it under :func:`exclusive`: tables created by two processes at once break both.

    Raises
    ------
    UserError
        If the experiment was deleted, or was created through a server while the database is opened directly.
    Exception
        Whatever MLflow raises when the store cannot be reached.
    """
    if store.uri.startswith("sqlite:///"):
        Path(store.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    try:
        client = client or open_client(store)
        found = client.get_experiment_by_name(store.experiment)
    except Exception as error:
        if "db upgrade" not in str(error):
            raise
        client = _upgrade(store)
        found = client.get_experiment_by_name(store.experiment)
    if found is None:
        # The kind makes MLflow's pages show runs and models instead of chats and prompts.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return client, client.create_experiment(store.experiment, artifact_location=store.artifacts.as_uri() if store.artifacts else None, tags=tags)
    _check_experiment(store, found)
    return client, found.experiment_id


def _upgrade(store: Store) -> MlflowClient:
    """Bring the tables of our own sqlite file up to date; somebody else's database is left to its keeper."""
    if not store.uri.startswith("sqlite:///"):
        raise UserError(f"the MLflow database {store.shown} is older than this MLflow; back it up and run `mlflow db upgrade` on it")
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-m", "mlflow", "db", "upgrade", store.uri], capture_output=True, text=True)
    if done.returncode:
        raise UserError(
            f"the MLflow database {store.shown} cannot be upgraded; set it aside and run simlm track again ({done.stderr.strip().splitlines()[-1:]})"
        )
    return open_client(store)


def _check_experiment(store: Store, found: Any) -> None:
    if found.lifecycle_stage != "active":
        restore = f"mlflow experiments restore -x {found.experiment_id}"
        raise UserError(f"the MLflow experiment '{store.experiment}' was deleted; restore it (`{restore}`) or set tracking.experiment to another name")
    if not store.is_server and str(found.artifact_location).startswith("mlflow-artifacts:"):
        raise UserError(
            f"the MLflow experiment '{store.experiment}' was created through a server; give the server's address as tracking.uri instead of {store.shown}"
        )
