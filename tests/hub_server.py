"""A Hugging Face Hub on this machine that serves folders, for ``huggingface_hub`` with HF_ENDPOINT; files can be cut to see a download go on."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Hub:
    """Repositories below ``root``: models as ``owner/name``, data sets as ``datasets/owner/name``.

    Attributes
    ----------
    asked
        (method, path, Range header) of every request.
    cut
        Name of a file whose first answer breaks off half-way.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[tuple[str, str, str | None]] = []
        self.cut: str | None = None

    def folder(self, kind: str, name: str) -> Path:
        return self.root / ("datasets" if kind == "datasets" else "") / name

    def commit(self, folder: Path) -> str:
        """40 hex digits that change with the content."""
        digest = hashlib.sha1()
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
        return digest.hexdigest()

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Address of the running server."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append((self.command, path, self.headers.get("Range")))
        if match := re.fullmatch(r"/api/(models|datasets)/([\w.-]+/[\w.-]+)(?:/revision/[^/]+)?", path):
            folder = self.hub.folder(match[1], match[2])
            self._json({"id": match[2], "sha": self.hub.commit(folder), "siblings": []} if folder.is_dir() else None, body)
        elif match := re.fullmatch(r"/api/(models|datasets)/([\w.-]+/[\w.-]+)/tree/\w+", path):
            folder = self.hub.folder(match[1], match[2])
            files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
            entries = [{"type": "file", "path": str(f.relative_to(folder)), "size": f.stat().st_size, "oid": _etag(f)} for f in files]
            self._json(entries, body)
        elif match := re.fullmatch(r"/(datasets/)?([\w.-]+/[\w.-]+)/resolve/\w+/(.+)", path):
            self._file(self.hub.folder("datasets" if match[1] else "models", match[2]), match[3], body)
        else:
            self._json(None, body)

    def _json(self, value: object, body: bool) -> None:
        content = json.dumps({"error": "Repository not found"} if value is None else value).encode()
        self.send_response(404 if value is None else 200)
        if value is None:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _file(self, folder: Path, name: str, body: bool) -> None:
        file = folder / name
        if not file.is_file():
            self._json(None, body)
            return
        content = file.read_bytes()
        start = int(re.match(r"bytes=(\d+)-", self.headers["Range"])[1]) if self.headers.get("Range") else 0
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", self.hub.commit(folder))
        self.send_header("ETag", f'"{_etag(file)}"')
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if not body:
            return
        if self.hub.cut == name:
            self.hub.cut = None
            self.wfile.write(content[start : len(content) // 2])
            self.close_connection = True
            return
        self.wfile.write(content[start:])


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
