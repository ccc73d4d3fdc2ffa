"""The local page: a search box and two systems side by side, and the same as JSON for programs.

It listens on 127.0.0.1 only and refuses requests whose ``Host`` is another name, so that no foreign web page can read the
corpus through a visitor's browser. Nothing is loaded from elsewhere; texts of the corpus are escaped.
"""

from __future__ import annotations

import errno
import json
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from simlm.config.graph import headline_system
from simlm.config.jobs import teachers_of
from simlm.errors import UserError
from simlm.hardware import keep_freed_memory
from simlm.interactive.page import Column, MapPage, Page, TrainingPage, render, render_map, render_training
from simlm.interactive.passage_map import PassageMap, make_map, mapped
from simlm.interactive.snippets import plain
from simlm.interactive.systems import LONGEST_QUERY, Answer, Systems, kind_of
from simlm.interactive.training_view import LOOKED_AT, TrainingView, students

if TYPE_CHECKING:
    from simlm.context import Context

ADDRESS = "127.0.0.1"
MOST_SHOWN = 100
"""Passages per system and request."""

COUNTS = ["5", "10", "20", "50"]
"""Numbers of passages that the page offers."""

DEPTH = 200
"""Passages among which the relevant one of a judged query is looked for; never more than are judged."""


WAITING = 1024
"""Connections that the system keeps until they are accepted; more are refused."""

AT_ONCE = 256
"""Connections that are answered at once, each by a thread; the others wait to be accepted."""


class SearchServer(ThreadingHTTPServer):
    """Serves one experiment. Searches run one at a time, in the order in which they were asked: the models use all cores anyway."""

    daemon_threads = True
    request_queue_size = WAITING

    def __init__(self, context: Context, port: int, left: str | None = None, right: str | None = None, evaluated: bool = False) -> None:
        self.context, self.systems = context, Systems(context, evaluated)
        for system in filter(None, (left, right)):
            kind_of(context.experiment, system)
            self.systems.collection.require(system)
        self.order = self.systems.best_first()
        headline, first = headline_system(context.experiment), left or self.order[0]
        # Beside the best the system that the configuration builds up to, or the next best where that is the same.
        second = right or next(name for name in (headline, *self.order) if name in self.order and (name != first or len(self.order) == 1))
        self.sides = (first, second)
        self.training = TrainingView(context.experiment, context.paths, self.systems.store)
        self._maps: dict[str, PassageMap] = {}
        self._warm = False
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

    def map_of(self, model: str | None) -> PassageMap:
        """The map of a model's vectors, made once."""
        with self._reading:
            name = model or ""
            if name not in self._maps:
                held, asked = self.systems.collection, model or next(iter(self.mapped), None)
                shards = held.shards(asked) if asked in self.mapped else None
                self._maps[name] = make_map(self.context.experiment, held.paths, held.store, asked, shards)
            return self._maps[name]

    @property
    def mapped(self) -> list[str]:
        """Models whose vectors can be mapped."""
        return [name for name in mapped(self.context.experiment) if name in self.systems.collection.systems]

    def query_place(self, found: PassageMap, query: str) -> tuple[float, float]:
        """Where a query is on a map."""
        self.systems.open(found.model)
        vector = self._searching.submit(self.systems.query_vector, found.model, query).result()
        x, y = found.place(vector)[0]
        return float(x), float(y)

    def warm_up(self) -> None:
        """Load both systems in the background, once, so that the first query does not wait for it all.

        The first page starts it when it has been sent: importing torch stops all threads for seconds.
        """
        if self._warm:
            return
        self._warm = True

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
                        " ".join(text.split()): {passage for passage, given in qrels[query].items() if given >= grade}
                        for query, text in store.queries(evaluate.main_split).items()
                        if query in qrels  # none is in a split of questions that are judged by answers
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


def make_server(context: Context, port: int, left: str | None = None, right: str | None = None, evaluated: bool = False) -> SearchServer:
    """Bind the server; ``serve_forever`` runs it.

    Parameters
    ----------
    port
        0 takes any free one; see ``SearchServer.port``.
    left, right
        Systems shown first.
    evaluated
        See :class:`~simlm.interactive.systems.Systems`.

    Raises
    ------
    UserError
        If a system does not exist, the experiment has no corpus, or the port is taken.
    """
    try:
        return SearchServer(context, port, left, right, evaluated)
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise UserError(f"port {port} is in use; choose another with --port, or 0 for any free one") from None
        raise UserError(
            f"port {port} cannot be opened ({getattr(error, 'strerror', None) or error}); choose another with --port, or 0 for any free one"
        ) from None


class Handler(BaseHTTPRequestHandler):
    """Answers ``/``, ``/training``, ``/map`` and ``/api/search``."""

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
                self.server.warm_up()
            elif parts.path == "/training":
                self._training(fields)
            elif parts.path == "/map":
                self._map(fields)
            elif parts.path == "/api/search":
                self._api(fields)
            elif parts.path == "/favicon.ico":
                self._send(HTTPStatus.NO_CONTENT, "image/x-icon", "")
            else:
                self._send(HTTPStatus.NOT_FOUND, "text/plain", "There is /, /training, /map and /api/search.\n")
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
        names = [fields.get(side) or default for side, default in zip(("left", "right"), server.sides)]
        judged = server.judged()
        relevant = judged.get(query, set())
        # A browser that opens the page is shown it at once, and asks again from there; programs wait.
        opening = self.headers.get("Sec-Fetch-Mode") == "navigate"
        known = [name for name in names if name in experiment.systems and experiment.system(name).retrieves]
        pending = [name for name in dict.fromkeys(known) if not server.systems.is_open(name)] if query and opening else []
        columns = [Column(name, None, None) if pending else self._column(name, query, fields, relevant) for name in names]
        k = fields.get("k", "10")
        page = Page(
            experiment=experiment.name,
            systems=server.order,
            query=query[:LONGEST_QUERY],
            k=k,
            columns=columns,
            relevant=relevant,
            is_judged=query in judged,
            examples=list(judged)[:: max(1, len(judged) // 5)][:5],
            split=experiment.evaluate.main_split,
            passages=len(server.systems.store),
            counts=[*COUNTS, *([k] if k not in COUNTS and k.isdecimal() else [])],
            pending=pending,
            link="/?" + urlencode({"q": query, "left": names[0], "right": names[1], "k": k}),
        )
        status = HTTPStatus.BAD_REQUEST if any(column.error for column in columns) else HTTPStatus.OK
        self._html(status, lambda nonce: render(page, nonce))

    def _column(self, name: str, query: str, fields: dict[str, str], relevant: set[str]) -> Column:
        """One side: its answer, or why there is none."""
        server = self.server
        try:
            kind_of(server.context.experiment, name)
            if not query:
                return Column(name, None, None)
            k = _count(fields)
            depth = max(k, min(DEPTH, server.context.experiment.evaluate.depth)) if relevant else k
            answer = server.answer(name, query, depth)
        except UserError as error:
            return Column(name, None, str(error))
        first = next((hit.rank for hit in answer.hits if hit.id in relevant), None)
        return Column(name, replace(answer, hits=answer.hits[:k]), None, first, depth)

    def _training(self, fields: dict[str, str]) -> None:
        server, view, experiment = self.server, self.server.training, self.server.context.experiment
        words, there = " ".join(fields.get("words", "").split())[:LONGEST_QUERY], students(self.server.context.experiment)
        student, error, seen, queries = "", None, None, []
        try:
            student = view.student(fields.get("model"))
            if "id" in fields:
                seen = view.look(student, fields["id"])
            else:
                queries = view.find(words) if words else view.doubtful(student)
        except UserError as mistake:
            error = str(mistake)
        model = experiment.models.get(student)
        page = TrainingPage(
            experiment=experiment.name,
            passages=len(server.systems.store),
            students=there,
            student=student,
            source=str(model.reads_negatives()) if model else "",
            teacher=" and ".join(teachers_of(model).values()) if model else None,
            words=words,
            queries=queries,
            looked_at=LOOKED_AT,
            seen=seen,
            above=sum(passage.above for passage in seen.negatives) if seen else 0,
            error=error,
        )
        self._html(HTTPStatus.BAD_REQUEST if error else HTTPStatus.OK, lambda nonce: render_training(page, nonce))

    def _map(self, fields: dict[str, str]) -> None:
        server, experiment = self.server, self.server.context.experiment
        query = " ".join(fields.get("q", "").split())[:LONGEST_QUERY]
        about: dict[str, Any] = {}
        model = fields.get("model", "")
        try:
            found = server.map_of(model or None)
            model, hits, place = found.model, [], None
            if query:
                hits, place = server.answer(found.model, query, 10).hits, server.query_place(found, query)
            best = {hit.id for hit in hits}
            ids = server.systems.store.ids(found.rows)
            dots = [
                (*_on_paper(x, y), int(group), plain(title) or own, own in best)
                for (x, y), group, title, own in zip(found.places.tolist(), found.groups, found.titles, ids)
            ]
            about = {"kept": found.kept, "names": found.names, "dots": dots, "hits": hits, "place": _on_paper(*place) if place else None}
        except UserError as error:
            about = {"error": str(error)}
        page = MapPage(experiment.name, len(server.systems.store), server.mapped, model, query, **about)
        self._html(HTTPStatus.BAD_REQUEST if page.error else HTTPStatus.OK, lambda nonce: render_map(page, nonce))

    def _html(self, status: HTTPStatus, rendered: Callable[[str], str]) -> None:
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        self._send(status, "text/html", rendered(nonce), {"Content-Security-Policy": policy})

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


def _on_paper(x: float, y: float) -> tuple[float, float]:
    """A place between 0 and 1 in the units of the drawing."""
    return round(1000 * x, 1), round(680 * (1 - y), 1)


def _count(fields: dict[str, str]) -> int:
    try:
        k = int(fields.get("k", "10"))
    except ValueError:
        raise UserError(f"k is '{fields['k'][:20]}', which is not a number") from None
    if not 1 <= k <= MOST_SHOWN:
        raise UserError(f"k is {k}; ask for 1 to {MOST_SHOWN} passages")
    return k
