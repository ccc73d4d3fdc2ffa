"""A PostgreSQL cluster and an MLflow server of a test's own, in a temporary folder, on free ports of this machine."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def postgres_programs() -> Path | None:
    """Folder of initdb and pg_ctl: on the path, or where Debian puts them; None if PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda place: float(place.parts[-3]))
    return places[-1].parent if places else None


def why_no_postgres() -> str | None:
    """Reason for which PostgreSQL cannot run here, or None."""
    if postgres_programs() is None:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "psycopg is not installed (pip install 'psycopg[binary]')"
    if os.getuid() == 0 and _other_user() is None:
        return "PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody'"
    return None


def _other_user() -> str | None:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


@dataclass
class Postgres:
    """A cluster with one database, ``mlflow``, that a user with a password may use over TCP."""

    folder: Path
    programs: Path
    port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def uri(self) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg://mlflow:{self.password}@127.0.0.1:{self.port}/mlflow"

    def create(self) -> None:
        (self.folder / "password").write_text(self.password)
        self._become_owner()
        self._run("initdb", "-D", "data", "-U", "mlflow", "-A", "scram-sha-256", "--pwfile", "password", "-E", "UTF8", "--locale", "C")
        self.start()
        import psycopg

        with psycopg.connect(self._dsn("postgres"), autocommit=True) as connection:
            connection.execute("create database mlflow")

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        self._run("pg_ctl", "start", "-w", "-t", "300", "-D", "data", "-l", "log", "-o", options)

    def stop(self, mode: str = "fast") -> None:
        """``immediate`` leaves the cluster as a crash would."""
        self._run("pg_ctl", "stop", "-w", "-t", "300", "-D", "data", "-m", mode)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query to the database, past MLflow."""
        import psycopg

        with psycopg.connect(self._dsn("mlflow")) as connection:
            return connection.execute(query).fetchall()

    def _dsn(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} dbname={database} user=mlflow password={self.password}"

    def _become_owner(self) -> None:
        if os.getuid() == 0:
            owner = pwd.getpwnam(_other_user())
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, owner.pw_uid, owner.pw_gid)

    def _run(self, program: str, *arguments: str) -> None:
        # pg_ctl's server outlives it and would hold a pipe open, so the output goes to a file.
        other = {"user": _other_user(), "group": pwd.getpwnam(_other_user()).pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
        with open(self.folder / "programs.log", "ab") as log:
            done = subprocess.run(
                [self.programs / program, *arguments], cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, timeout=400, **other
            )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {(self.folder / 'programs.log').read_text()[-2000:]}")


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A cluster for the time of the block; nothing of it is left."""
    # Not below pytest's folders, which the user that PostgreSQL runs as may not enter.
    folder = Path(tempfile.mkdtemp(prefix="simlm-pg-"))
    cluster = Postgres(folder, postgres_programs())
    try:
        cluster.create()
        yield cluster
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            cluster.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class MlflowServer:
    """MLflow on a database; artifacts lie in ``folder`` and are handed out by the server."""

    database: str
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, seconds: float = 600) -> None:
        """Start and wait until it answers."""
        settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_BACKEND_STORE_URI": self.database}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")} | settings
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder)]
        with open(self.folder.with_suffix(".log"), "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder.parent, env=environment, start_new_session=True)
        deadline = time.monotonic() + seconds
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the MLflow server did not start: {self.folder.with_suffix('.log').read_text()[-3000:]}")
            time.sleep(0.2)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=20) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self) -> None:
        """End it and its workers at once, as a crash would."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)
            self.process = None


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that accepts every connection and then does what ``answer`` does; gives its address."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen(50)
        held: list[socket.socket] = []

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = door.accept()
                    held.append(connection)
                    threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{door.getsockname()[1]}"
        finally:
            door.shutdown(socket.SHUT_RDWR)
            for connection in held:
                connection.close()


def silent(connection: socket.socket) -> None:
    """Takes what it is sent and says nothing."""


def dripping(connection: socket.socket) -> None:
    """Sends one byte of a header after another, for ever: no timeout of a single read is ever over."""
    with suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            connection.sendall(b"x")
            time.sleep(0.2)


@dataclass
class LossyProxy:
    """Hands requests on to a server and loses the answers that ``loses`` names, after the server has done its work."""

    target: str
    loses: Callable[[str, str], bool]
    lost: list[str] = field(default_factory=list)
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[str]:
        import http.client
        import http.server

        proxy, host = self, self.target.removeprefix("http://")

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def hand_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.requests.append((self.command, self.path, body))
                upstream = http.client.HTTPConnection(host, timeout=60)
                upstream.request(self.command, self.path, body, {name: value for name, value in self.headers.items() if name.lower() != "host"})
                answer = upstream.getresponse()
                content = answer.read()
                upstream.close()
                if proxy.loses(self.command, self.path):
                    proxy.lost.append(self.path)
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = hand_on

            def log_message(self, *arguments: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()


@contextmanager
def running_mlflow(folder: Path) -> Iterator[MlflowServer]:
    """An MLflow server on a sqlite file in ``folder``."""
    server = MlflowServer(f"sqlite:///{folder / 'server.db'}", folder / "artifacts")
    server.folder.mkdir()
    try:
        server.start()
        yield server
    finally:
        server.kill()
