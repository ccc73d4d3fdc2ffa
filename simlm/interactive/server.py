"""The local page: a search box and two systems side by side, and the same as JSON for programs.

It listens on 127.0.0.1 only and refuses requests whose ``Host`` is another name, so that no foreign web page can read the
corpus through a visitor's browser. Nothing is loaded from elsewhere; texts of the corpus are escaped.
"""

from __future__ import annotations

import errno
import json
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from simlm.config.graph import headline_system
from simlm.errors import UserError
from simlm.hardware import keep_freed_memory
from simlm.interactive.page import Column, Page, render
from simlm.interactive.systems import LONGEST_QUERY, Answer, Systems, kind_of, searchable

if TYPE_CHECKING:
    from simlm.context import Context

ADDRESS = "127.0.0.1"
MOST_SHOWN = 100
"""Passages per system and request."""


WAITING = 1024
"""Connections that the system keeps until they are accepted; more are refused."""

AT_ONCE = 256
"""Connections that are answered at once, each by a thread; the others wait to be accepted."""


class SearchServer(ThreadingHTTPServer):
    """Serves one experiment. Searches run one at a time, in the order in which they were asked: the models use all cores anyway."""

    daemon_threads = True
    request_queue_size = WAITING

    def __init__(self, context: Context, port: int, left: str, right: str) -> None:
        self.context, self.sides = context, (left, right)
        self.systems = Systems(context)
        # One thread for all searches: each thread that multiplies would have a pool of threads of its own.
        self._searching = ThreadPoolExecutor(1)
        self._room = threading.BoundedSemaphore(AT_ONCE)
        self._reading = threading.Lock()
        self._judged: dict[str, set[str]] | None = None
        keep_freed_memory()
        super().__init__((ADDRESS, port), Handler)

    @property
    def port(self) -> int:
        return self.server_address[1]

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.port}/"

    @property
    def hosts(self) -> set[str]:
        """Values of the ``Host`` header that are answered."""
        return {f"{name}{port}" for name in (ADDRESS, "localhost") for port in ([f":{self.port}", ""] if self.port == 80 else [f":{self.port}"])}

    def answer(self, system: str, query: str, k: int) -> Answer:
        """Ask a system, after the searches before it; while it is being opened others answer."""
        if query.strip():
            self.systems.open(system)
        return self._searching.submit(self.systems.answer, system, query, k).result()

    def warm_up(self) -> None:
        """Load both systems in the background, so that the first query does not wait for it all."""

        def load() -> None:
            for system in self.sides:
                try:
                    self.systems.open(system)
                except UserError:
                    continue  # the page shows the sentence when the system is asked

        threading.Thread(target=load, daemon=True).start()

    def judged(self) -> dict[str, set[str]]:
        """Text of a query of the main split → ids of its relevant passages."""
        with self._reading:
            if self._judged is None:
                evaluate, store = self.context.experiment.evaluate, self.systems.store
                try:
                    grade = evaluate.splits[evaluate.main_split].relevance
                    qrels = store.qrels(evaluate.main_split)
                    self._judged = {
                        " ".join(text.split()): {passage for passage, given in qrels.get(query, {}).items() if given >= grade}
                        for query, text in store.queries(evaluate.main_split).items()
                    }
                except UserError:
                    self._judged = {}
            return self._judged

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, as soon as there is room for one."""
        self._room.acquire()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def server_close(self) -> None:
        super().server_close()
        self._searching.shutdown(wait=False, cancel_futures=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A visitor who leaves before the answer is ready is no error."""
        import sys

        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def make_server(context: Context, port: int, left: str | None = None, right: str | None = None) -> SearchServer:
    """Bind the server; ``serve_forever`` runs it.

    Parameters
    ----------
    port
        0 takes any free one; see ``SearchServer.port``.
    left, right
        Systems shown first.

    Raises
    ------
    UserError
        If a system does not exist, the experiment has no corpus, or the port is taken.
    """
    experiment = context.experiment
    left = left or headline_system(experiment)
    right = right or next((name for name in searchable(experiment) if name != left), left)
    for system in (left, right):
        kind_of(experiment, system)
    try:
        return SearchServer(context, port, left, right)
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise UserError(f"port {port} is in use; choose another with --port, or 0 for any free one") from None
        raise UserError(
            f"port {port} cannot be opened ({getattr(error, 'strerror', None) or error}); choose another with --port, or 0 for any free one"
        ) from None


class Handler(BaseHTTPRequestHandler):
    """Answers ``/`` and ``/api/search``."""

    server: SearchServer
    server_version, sys_version = "simlm", ""
    protocol_version = "HTTP/1.1"
    timeout = 10
    """Seconds for which a visitor may say nothing: the connection's thread waits as long."""

    def do_GET(self) -> None:
        """Route a request."""
        if self.headers.get("Host", "") not in self.server.hosts:
            self._send(HTTPStatus.FORBIDDEN, "text/plain", f"This server answers to {self.server.url} only.\n")
            return
        parts = urlsplit(self.path)
        fields = {name: values[-1] for name, values in parse_qs(parts.query, errors="replace").items()}
        try:
            if parts.path == "/":
                self._page(fields)
            elif parts.path == "/api/search":
                self._api(fields)
            elif parts.path == "/favicon.ico":
                self._send(HTTPStatus.NO_CONTENT, "image/x-icon", "")
            else:
                self._send(HTTPStatus.NOT_FOUND, "text/plain", "There is / and /api/search.\n")
        except UserError as error:
            self._json(HTTPStatus.BAD_REQUEST, {"error": str(error)})

    do_HEAD = do_GET

    def log_message(self, *arguments: Any) -> None:
        """Queries stay private: nothing is logged."""

    def _api(self, fields: dict[str, str]) -> None:
        for name in fields:
            if name not in ("system", "q", "k"):
                raise UserError(f"unknown parameter '{name}'; there are system, q and k")
        answer = self.server.answer(fields.get("system", self.server.sides[0]), fields.get("q", ""), _count(fields))
        self._json(HTTPStatus.OK, answer.as_json())

    def _page(self, fields: dict[str, str]) -> None:
        server, experiment = self.server, self.server.context.experiment
        query = " ".join(fields.get("q", "").split())
        names = [fields.get(side, default) for side, default in zip(("left", "right"), server.sides)]
        columns, status = [], HTTPStatus.OK
        for name in names:
            answer, sentence = None, None
            if query:
                try:
                    answer = server.answer(name, query, _count(fields))
                except UserError as error:
                    sentence, status = str(error), HTTPStatus.BAD_REQUEST
            columns.append(Column(name, answer, sentence))
        judged = server.judged()
        page = Page(
            experiment=experiment.name,
            systems=searchable(experiment),
            query=query[:LONGEST_QUERY],
            k=fields.get("k", "10"),
            columns=columns,
            relevant=judged.get(query, set()),
            is_judged=query in judged,
            examples=list(judged)[:: max(1, len(judged) // 5)][:5],
            split=experiment.evaluate.main_split,
            passages=len(server.systems.store),
        )
        nonce = secrets.token_urlsafe(16)
        policy = f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        self._send(status, "text/html", render(page, nonce), {"Content-Security-Policy": policy})

    def _json(self, status: HTTPStatus, value: Any) -> None:
        self._send(status, "application/json", json.dumps(value, ensure_ascii=False) + "\n")

    def _send(self, status: HTTPStatus, kind: str, text: str, headers: dict[str, str] | None = None) -> None:
        body = text.encode("utf-8", errors="replace")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _count(fields: dict[str, str]) -> int:
    try:
        k = int(fields.get("k", "10"))
    except ValueError:
        raise UserError(f"k is '{fields['k'][:20]}', which is not a number") from None
    if not 1 <= k <= MOST_SHOWN:
        raise UserError(f"k is {k}; ask for 1 to {MOST_SHOWN} passages")
    return k
