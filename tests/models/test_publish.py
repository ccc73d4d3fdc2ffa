"""`simlm publish`: what is shown is what is sent, nothing is sent unasked, and no token is ever needed to look."""

from __future__ import annotations

import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub.utils import close_session

from simlm.cli import main


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub's interface as an upload needs; every file is wanted in the commit itself."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, str | None]]
    files: dict[str, bytes]

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((self.path, self.headers.get("Authorization")))
        answer: dict = {}
        here = f"http://{self.headers['Host']}"
        if self.path == "/api/repos/create":
            answer = {"url": f"{here}/{json.loads(body)['organization']}/{json.loads(body)['name']}"}
        elif self.path.endswith("/preupload/main"):
            answer = {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in json.loads(body)["files"]]}
        elif self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            answer = {"commitUrl": f"{here}/me/mine/commit/{'1' * 40}", "commitOid": "1" * 40, "hookOutput": ""}
        self._answer(200, answer)

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))
        known = re.fullmatch(r"/api/models/[\w.-]+/[\w.-]+(/revision/main)?", self.path.partition("?")[0])
        self._answer(200 if known else 404, {"id": "me/mine", "sha": "0" * 40, "siblings": []} if known else {"error": "nothing here"})

    def _answer(self, code: int, value: dict) -> None:
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def hub(monkeypatch):
    # This server is asked itself, whatever proxies the machine or the client of an earlier test has.
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    close_session()
    handler = type("Here", (Hub,), {"asked": [], "files": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere")
    yield handler
    # The client, which the process shares, holds the connection to this server open.
    close_session()
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path, tiny_encoder, word_tokenizer):
    from simlm.models.folder import save_model

    def card(place):
        (place / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Mine\n\nA retriever.\n")

    save_model(tmp_path / "mine", tiny_encoder, word_tokenizer, kind="biencoder", key="k", lengths={"query": 8, "passage": 24}, write=card)
    return tmp_path / "mine"


def test_a_look_sends_nothing_and_the_upload_sends_what_was_shown(hub, folder, monkeypatch, capsys):
    arguments = ["publish", "--model", str(folder), "--to", "me/mine"]
    for more in ([], ["--dry-run"]):
        assert main([*arguments, *more]) == 0
        said = capsys.readouterr()
        assert "me/mine" in said.out
        assert "# Mine" in said.out
        assert "Nothing was sent" in said.err
    assert hub.asked == []
    assert main([*arguments, "--yes"]) == 2
    assert "there is no token of the Hub" in capsys.readouterr().err
    assert hub.asked == []
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_test")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "left").write_text("no part of the model")
    assert main([*arguments, "--yes", "--private"]) == 0
    said = capsys.readouterr()
    assert "Uploaded: http" in said.err
    assert "hf_of_this_test" not in said.out + said.err
    assert {token for _, token in hub.asked if token} == {"Bearer hf_of_this_test"}
    shown = {line.split()[1]: int(line.split()[0].replace(",", "")) for line in said.out.splitlines() if re.match(r" +[\d,]+  [\w./]+$", line)}
    assert {name: len(data) for name, data in hub.files.items()} == shown
    assert all((folder / name).read_bytes() == data for name, data in hub.files.items())
    assert {"model.safetensors", "simlm.json", "README.md", "1_Pooling/config.json"} <= hub.files.keys()


def test_what_must_not_be_published_is_refused(folder, capsys):
    arguments = ["publish", "--model", str(folder)]
    assert main([*arguments, "--to", "mine"]) == 2
    assert "give owner/name" in capsys.readouterr().err
    (folder / "README.md").write_text("# Mine\n\nMade in /home/me/models with postgresql://me:hunter2@db/mlflow\n")
    assert main([*arguments, "--to", "me/mine"]) == 2
    said = capsys.readouterr()
    assert "remove it before the card is published" in said.err
    assert "hunter2" not in said.err + said.out
    (folder / "README.md").write_text("# Mine\n\nMade in /home/me/models\n")
    assert main([*arguments, "--to", "me/mine"]) == 0
    said = capsys.readouterr().out
    assert "caution: the card names no licence" in said
    assert "such as /home/me/models" in said
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    assert main([*arguments, "--to", "me/mine"]) == 2
    assert "its sha256 differs" in capsys.readouterr().err
