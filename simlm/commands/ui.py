"""Open MLflow on the store that holds the experiments' runs. Ctrl-C ends it.

simlm ui
simlm ui --experiment pydocs --port 5001
"""

from __future__ import annotations

import argparse
import os
import sys

from simlm.commands.options import add_experiment_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment_options(parser)
    parser.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (default: 5000)")


def run(arguments: argparse.Namespace) -> None:
    from simlm.commands.options import load_context
    from simlm.progress import say
    from simlm.tracking.store import store_of

    context = load_context(arguments)
    store = store_of(context.experiment, context.paths.root.parent)
    store.check()
    if store.is_server:
        say(f"The runs are on a server: open {store.shown} (experiment '{store.experiment}').")
        return
    command, environment = server_command(store, arguments.port)
    say(f"MLflow opens in a few seconds on {store.shown} (Ctrl-C ends it):\n\n    http://127.0.0.1:{arguments.port}{view(context.paths.mirror)}\n")
    os.execve(command[0], command, environment)


def view(mirror) -> str:
    """Path of the run table with the headline columns, once something was mirrored."""
    from simlm.files import read_manifest
    from simlm.tracking.headline import VIEW

    identity = read_manifest(mirror, "the list of mirrored runs", "simlm track", {}).get("experiment_id") if mirror.exists() else None
    return f"/#/experiments/{identity}/runs?viewStateShareKey={VIEW}" if str(identity).isdigit() else ""


def server_command(store, port: int) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of a small MLflow server: this machine only, one worker, no job runner.

    Raises
    ------
    UserError
        If nothing was mirrored yet, or if the port is taken.
    """
    import socket
    from pathlib import Path

    from simlm.errors import UserError

    file = store.uri.removeprefix("sqlite:///")
    if store.uri.startswith("sqlite:///") and not Path(file).exists():
        raise UserError(f"{file} does not exist: nothing was mirrored yet; run simlm track first")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"port {port} cannot be used ({error.strerror}); choose another with --port") from None
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    if store.artifacts:
        command += ["--default-artifact-root", store.artifacts.as_uri()]
    # The address of a database may hold a password, and command lines are public on a machine.
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_BACKEND_STORE_URI": store.uri}
    # A tracking URI or run id of the shell is not for the server.
    environment = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID")}
    return command, environment | settings
