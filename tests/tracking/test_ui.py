import socket

import pytest

from simlm.cli import main
from simlm.commands.ui import server_command, view
from simlm.errors import UserError
from simlm.files import write_json
from simlm.tracking.store import Store


def test_the_server_is_small_and_of_this_machine_alone(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command, environment = server_command(store, port)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--workers") + 1] == "1"
    assert store.uri not in command, "it may hold a password, and anybody can read a command line"
    assert environment["MLFLOW_BACKEND_STORE_URI"] == store.uri
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert "MLFLOW_TRACKING_URI" not in environment


def test_a_taken_port_and_an_empty_store_are_explained(store, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="choose another with --port"):
            server_command(store, taken.getsockname()[1])
    with pytest.raises(UserError, match="run simlm track first"):
        server_command(Store(f"sqlite:///{tmp_path}/none.db", None, "simlm", tmp_path / "lock"), 5000)


def test_a_server_is_only_named(made, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example:5000")
    assert main(["ui", "--config", str(made.paths.config)]) == 0
    assert "open http://tracking.example:5000" in capsys.readouterr().err


def test_the_address_opens_the_view_with_the_headline_columns(tmp_path):
    assert view(tmp_path / "mlflow.json") == ""
    write_json(tmp_path / "mlflow.json", {"experiment_id": "1"})
    assert view(tmp_path / "mlflow.json") == "/#/experiments/1/runs?viewStateShareKey=simlm"
