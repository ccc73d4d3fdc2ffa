"""A password appears nowhere but in memory."""

from __future__ import annotations

import http.server
import os
from base64 import b64encode

import pytest
import yaml
from services import LossyProxy, running_mlflow

from simlm.cli import main
from simlm.config import load_experiment
from simlm.errors import UserError
from simlm.secrets import without_secrets
from simlm.tracking.store import store_of

PASSWORD = "hunter2-p4ss"


@pytest.mark.parametrize(
    ("over", "place"),
    [
        ({"tracking": {"uri": f"http://me:{PASSWORD}@mlflow.example"}}, "tracking.uri"),
        ({"tracking": {"uri": f"https://{PASSWORD}@mlflow.example"}}, "tracking.uri"),
        ({"tracking": {"uri": f"http://me:{PASSWORD}/x@mlflow.example"}}, "tracking.uri"),
        ({"tracking": {"uri": f"postgresql://db/x?user=me&password={PASSWORD}"}}, "tracking.uri"),
        ({"gate": {"published": f"https://me:{PASSWORD}@host/published.yaml"}}, "gate.published"),
        ({"corpus": {"source": "beir", "path": f"s3://me:{PASSWORD}@bucket", "splits": {"train": "train", "dev": "dev", "test": "test"}}}, "corpus.path"),
        ({"tokenizer": {"init": f"https://host/x?X-Amz-Signature={PASSWORD}"}}, "tokenizer.init"),
        ({"tokenizer": {"init": "hf_" + "aB3" * 11}}, "tokenizer.init"),
        ({"tracking": {"uri": [f"http://me:{PASSWORD}@mlflow.example"]}}, "tracking.uri"),
    ],
)
def test_a_secret_in_the_configuration_is_refused_without_being_repeated(made, capsys, over, place):
    values = yaml.safe_load(made.paths.config.read_text()) | over
    made.paths.config.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=r"belong|give the address by the environment") as error:
        load_experiment(made.paths.config)
    assert place in str(error.value)
    assert main(["check", "--config", str(made.paths.config)]) == 2
    said = "".join(capsys.readouterr()) + str(error.value)
    assert PASSWORD not in said
    assert "aB3aB3" not in said


@pytest.mark.parametrize("uri", ["http://127.0.0.1:5000", "postgresql://me@db/x?sslmode=require", "sqlite:///x.db", "http://[::1]:5000/path@1", "databricks"])
def test_addresses_without_a_secret_are_taken(made, uri):
    made.paths.config.write_text(yaml.safe_dump(yaml.safe_load(made.paths.config.read_text()) | {"tracking": {"uri": uri}}))
    assert load_experiment(made.paths.config).tracking.uri == uri


def test_messages_hide_what_the_environment_holds(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "geheim&1")
    text = without_secrets("http://u:x%40y@h/p?a=1: 401 for 'geheim&1', geheim%261 and hf_" + "aB3" * 11)
    assert text == "http://u:***@h/p?a=***: 401 for '***', *** and ***"


def everything_below(*folders) -> bytes:
    return b"\n".join(file.read_bytes() for folder in folders for file in sorted(folder.rglob("*")) if file.is_file())


@pytest.mark.parametrize("uri", [f"http://me:{PASSWORD}@127.0.0.1:9", f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:9/x?password={PASSWORD}"])
def test_a_password_of_the_environment_is_not_written_when_the_store_is_dead(made, monkeypatch, capsys, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")
    for more in ([], ["--strict"], ["--init"]):
        main(["track", "--config", str(made.paths.config), *more])
    assert PASSWORD not in "".join(capsys.readouterr())
    assert PASSWORD.encode() not in everything_below(made.paths.root.parent)
    assert PASSWORD not in repr(store_of(made.experiment, made.paths.root.parent))


@pytest.mark.slow
def test_a_password_of_the_environment_reaches_the_server_and_nothing_else(made, tmp_path, monkeypatch, capsys):
    for file in (made.paths.root / "stages").glob("*.json"):
        if file.stem not in ("prepare_corpus", "train.simlm"):
            file.unlink()
    folder = tmp_path / "mlflow"
    folder.mkdir()
    seen = set()
    real = http.server.BaseHTTPRequestHandler.parse_request

    def listens(handler):
        good = real(handler)
        seen.add(handler.headers.get("Authorization"))
        return good

    monkeypatch.setattr(http.server.BaseHTTPRequestHandler, "parse_request", listens)
    with running_mlflow(folder) as server:
        proxy = LossyProxy(server.uri, lambda method, path: False)
        with proxy.running() as address:
            for name in ("USERNAME", "PASSWORD"):
                monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")
            monkeypatch.setenv("MLFLOW_TRACKING_URI", address.replace("http://", f"http://me:{PASSWORD}@"))
            assert main(["track", "--strict", "--config", str(made.paths.config)]) == 0
        assert "Basic " + b64encode(f"me:{PASSWORD}".encode()).decode() in seen
    assert PASSWORD not in "".join(capsys.readouterr())
    assert PASSWORD.encode() not in everything_below(made.paths.root.parent, folder)
    assert not any(PASSWORD.encode() in body for _, _, body in proxy.requests)
    assert os.environ["MLFLOW_TRACKING_URI"] == address
