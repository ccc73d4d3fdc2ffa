"""Which MLflow store an experiment uses, and its one-time preparation."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from simlm.config import Experiment
from simlm.errors import UserError
from simlm.secrets import what_is_secret, without_secrets
from simlm.tracking.patience import CALL, HELLO, REPLAY, PatientClient, greet, is_an_answer, no_retries_of_its_own, within

if TYPE_CHECKING:
    from mlflow import MlflowClient


class StoreUnusable(UserError):
    """The store cannot hold the mirror, for a reason that the user can mend: a warning like a dead server's, because the results are complete."""


@dataclass(frozen=True)
class Store:
    """Where runs go.

    Attributes
    ----------
    uri
        Tracking URI; a sqlite file is given by its absolute path. User and password of a web server are not in it, those
        of a database are: never print it, print ``shown``.
    artifacts
        Folder of the artifacts of a local store; None: the server decides.
    experiment
        Name of the MLflow experiment.
    lock
        File that serialises writers of this machine.
    """

    uri: str = field(repr=False)
    artifacts: Path | None
    experiment: str
    lock: Path

    @property
    def is_server(self) -> bool:
        """Whether a server is between us and the database."""
        return self.uri.startswith(("http://", "https://", "databricks"))

    @property
    def is_local(self) -> bool:
        """Whether the database is a file."""
        return self.uri.startswith("sqlite:")

    @property
    def shown(self) -> str:
        """The URI without a password, and without the values of its query.

        >>> Store("postgresql://me:secret@db/x", None, "simlm", Path("l")).shown
        'postgresql://me:***@db/x'
        """
        return without_secrets(self.uri)

    def without_password(self, text: str) -> str:
        """A message of a library, which may quote the URI or its parts."""
        parts = urlsplit(self.uri)
        return without_secrets(text, parts.password, *(value for name, value in parse_qsl(parts.query) if what_is_secret(f"x://x?{name}=")))

    def check(self) -> None:
        """Refuse what MLflow cannot write to at all.

        Raises
        ------
        StoreUnusable
            If a folder is named: MLflow no longer writes file stores.
        """
        if urlsplit(self.uri).scheme in ("", "file") and not self.is_server:
            raise StoreUnusable(
                f"tracking uri '{self.shown}' is a folder, which MLflow no longer writes to; give sqlite:///<file>, or the address of a server, or nothing"
            )


def store_of(experiment: Experiment, results: Path) -> Store:
    """Resolve the store: the configuration, or MLFLOW_TRACKING_URI, or a sqlite file in the results folder.

    User and password in the address of a web server are handed to MLflow by the environment of this process.
    """
    results = results.resolve()
    lock, name = results / ".mlflow.lock", experiment.tracking.experiment
    uri = experiment.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return Store(f"sqlite:///{results / 'mlflow.db'}", results / "mlartifacts", name, lock)
    parts = urlsplit(uri)
    if parts.scheme == "sqlite" and not parts.query and uri.startswith("sqlite:///"):
        file = Path(uri.removeprefix("sqlite:///")).expanduser().resolve()
        return Store(f"sqlite:///{file}", file.parent / "mlartifacts", name, lock)
    if parts.scheme in ("http", "https") and "@" in parts.netloc:
        user, _, host = parts.netloc.rpartition("@")
        login, _, password = user.partition(":")
        os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(login), unquote(password)
        uri = os.environ["MLFLOW_TRACKING_URI"] = urlunsplit(parts._replace(netloc=host))
    return Store(uri, None, name, lock)


def open_client(store: Store, seconds: float = CALL, total: float = REPLAY, hello: float = HELLO) -> MlflowClient:
    """A client that is quiet, sends no telemetry, and whose calls end (:mod:`simlm.tracking.patience`).

    Parameters
    ----------
    seconds, total, hello
        Time of one call, of all calls, and of a server's first word.

    Raises
    ------
    StoreUnusable
        If the store is none that MLflow writes to.
    Exception
        Whatever MLflow raises when the store cannot be reached.
    """
    store.check()
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    no_retries_of_its_own()
    # Read by mlflow's fluent functions, it would make every run look like the one it names.
    os.environ.pop("MLFLOW_RUN_ID", None)
    if store.uri.startswith("http"):
        greet(store.uri, hello)
    from mlflow import MlflowClient

    # After the import, which sets levels of its own.
    for noisy in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    if store.is_local:
        return MlflowClient(tracking_uri=store.uri, registry_uri=store.uri)
    client = within(seconds, lambda: MlflowClient(tracking_uri=store.uri, registry_uri=store.uri), f"MLflow at {store.shown}")
    return PatientClient(client, seconds, total)


@contextmanager
def exclusive(store: Store, seconds: float = REPLAY) -> Iterator[None]:
    """Let one process of this machine at a time create tables, experiments and runs; waits at most ``seconds`` for the others.

    Raises
    ------
    StoreUnusable
        If another process holds the lock for longer.
    """
    from filelock import FileLock, Timeout

    store.lock.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(store.lock)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        raise StoreUnusable(f"another process has been writing to MLflow for {seconds:.0f} s and holds {store.lock}") from None
    try:
        yield
    finally:
        lock.release()


def initialise(store: Store, client: MlflowClient | None = None, **times: float) -> tuple[MlflowClient, str]:
    """Create or upgrade the tables and the experiment; returns the client and the experiment's id.

    ``times`` are those of :func:`open_client`. Call it under :func:`exclusive`: tables created by two processes at once break both.

    Raises
    ------
    StoreUnusable
        If the experiment was deleted, or was created through a server while the database is opened directly.
    Exception
        Whatever MLflow raises when the store cannot be reached.
    """
    store.check()
    if store.artifacts:
        store.artifacts.parent.mkdir(parents=True, exist_ok=True)
    try:
        client = client or open_client(store, **times)
        found = client.get_experiment_by_name(store.experiment)
    except Exception as error:
        if "db upgrade" not in str(error):
            raise
        client = _upgrade(store)
        found = client.get_experiment_by_name(store.experiment)
    if found is None:
        return client, _create_experiment(store, client)
    _check_experiment(store, found)
    if store.artifacts:
        relocate(store, client, found)
    return client, found.experiment_id


def _create_experiment(store: Store, client: MlflowClient) -> str:
    # The kind makes MLflow's pages show runs and models instead of chats and prompts.
    tags = {"mlflow.experimentKind": "custom_model_development"}
    try:
        return client.create_experiment(store.experiment, artifact_location=store.artifacts.as_uri() if store.artifacts else None, tags=tags)
    except Exception as error:
        # Another machine was faster, or the answer was lost on its way.
        if is_an_answer(error) and "ALREADY_EXISTS" not in str(error):
            raise
        found = client.get_experiment_by_name(store.experiment)
        if found is None:
            raise
        return found.experiment_id


def _upgrade(store: Store) -> MlflowClient:
    """Bring the tables of our own sqlite file up to date; somebody else's database is left to its keeper."""
    if not store.is_local:
        raise StoreUnusable(f"the MLflow database {store.shown} is older than this MLflow; back it up and run `mlflow db upgrade` on it")
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-m", "mlflow", "db", "upgrade", store.uri], capture_output=True, text=True)
    if done.returncode:
        raise StoreUnusable(
            f"the MLflow database {store.shown} cannot be upgraded; set it aside and run simlm track again ({done.stderr.strip().splitlines()[-1:]})"
        )
    return open_client(store)


def _check_experiment(store: Store, found: Any) -> None:
    if found.lifecycle_stage != "active":
        restore = f"mlflow experiments restore -x {found.experiment_id}"
        raise StoreUnusable(f"the MLflow experiment '{store.experiment}' was deleted; restore it (`{restore}`) or set tracking.experiment to another name")
    if not store.is_server and str(found.artifact_location).startswith("mlflow-artifacts:"):
        raise StoreUnusable(
            f"the MLflow experiment '{store.experiment}' was created through a server; give the server's address as tracking.uri instead of {store.shown}"
        )


def relocate(store: Store, client: MlflowClient, found: Any) -> None:
    """Make a database that was copied or moved together with its artifacts name the artifacts beside it.

    MLflow notes the absolute folder of every experiment and run, so a copy would go on writing into the original. It has
    no call to change that; only experiments whose folder we named ourselves (``.../mlartifacts``) are touched.
    """
    old, new = str(found.artifact_location), store.artifacts.as_uri()
    file = Path(store.uri.removeprefix("sqlite:///"))
    if old == new or not old.startswith("file:") or not old.endswith("/mlartifacts") or file.is_symlink():
        return
    import sqlite3

    columns = {"experiments": "artifact_location", "runs": "artifact_uri", "logged_models": "artifact_location"}
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        for table, column in columns.items():
            database.execute(
                f"update {table} set {column} = ? || substr({column}, ?) where {column} = ? or substr({column}, 1, ?) = ?",
                (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
            )
    if str(client.get_experiment(found.experiment_id).artifact_location) != new:
        raise StoreUnusable(f"the MLflow database {store.shown} keeps its artifacts in {old}, which is not beside it; set it aside and run simlm track again")
