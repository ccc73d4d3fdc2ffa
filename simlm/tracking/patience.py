"""A client of MLflow whose calls have an end: a server may be dead, silent, slow, or answer a byte every five seconds."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

CALL, REPLAY = 60.0, 1800.0
"""Seconds that one call may take, and all calls of one replay together."""

BYTES_PER_SECOND = 1 << 20
"""Uploads have this much time more than other calls: slower than a megabyte in a second is no store to work with."""

HELLO = 5.0
"""Seconds in which a server must say anything at all."""


class TookTooLong(ConnectionError):
    """A call had no whole answer in its time."""


def within(seconds: float, work: Callable[[], Result], what: str = "the store") -> Result:
    """Result of ``work``, which runs in a thread of its own and is left alone when its time is over.

    The timeouts of requests and of a database's driver start anew with every byte that arrives; this one does not.

    >>> within(1, lambda: 2)
    2

    Raises
    ------
    TookTooLong
        If there is no result after ``seconds``.
    """
    answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((work(), None))
        except BaseException as error:
            answers.put((None, error))

    # A daemon, because a thread that waits for the network cannot be ended, but must not keep the process.
    threading.Thread(target=run, name="mlflow-call", daemon=True).start()
    try:
        result, error = answers.get(timeout=max(seconds, 0.001))
    except queue.Empty:
        raise TookTooLong(f"{what} gave no whole answer in {seconds:.3g} s") from None
    if error is not None:
        raise error
    return result


class PatientClient:
    """``MlflowClient`` whose calls end.

    A call that fails on its way is tried once more, unless it creates something: then the answer may be lost and the
    work done, and the caller looks for it (:func:`simlm.tracking.identity.once`).

    Parameters
    ----------
    client
        An ``MlflowClient``.
    seconds
        Time of one call.
    total
        Time of all calls.
    """

    def __init__(self, client: Any, seconds: float = CALL, total: float = REPLAY) -> None:
        self._client, self._seconds, self._end = client, seconds, time.monotonic() + total

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not callable(method):
            return method

        def call(*arguments: Any, **named: Any) -> Any:
            seconds = self._seconds
            if name == "log_artifacts":
                seconds += sum(file.stat().st_size for file in Path(arguments[1]).rglob("*") if file.is_file()) / BYTES_PER_SECOND
            left = self._end - time.monotonic()
            if left <= 0:
                raise TookTooLong("the replay took too long altogether")
            again = not name.startswith("create_")
            return within(min(seconds, left), lambda: _try(lambda: method(*arguments, **named), again), f"MLflow's {name}")

        return call


def _try(work: Callable[[], Result], again: bool) -> Result:
    try:
        return work()
    except Exception as error:
        if not again or is_an_answer(error):
            raise
    time.sleep(0.2)
    return work()


def is_an_answer(error: BaseException) -> bool:
    """Whether the store itself has refused, so that nothing is lost on the way."""
    from mlflow.exceptions import RestException

    return isinstance(error, RestException)


def greet(address: str, seconds: float = HELLO) -> None:
    """Ask a web server for anything; whatever it answers is good.

    This needs no mlflow, whose import takes seconds, and is over soon where nobody answers.

    Raises
    ------
    OSError
        If nothing answers.
    """
    import ssl
    import urllib.error
    import urllib.request

    def ask() -> None:
        try:
            urllib.request.urlopen(address.rstrip("/") + "/health", timeout=seconds).close()
        except urllib.error.HTTPError:
            pass
        except urllib.error.URLError as error:
            if isinstance(error.reason, OSError) and not isinstance(error.reason, ssl.SSLError):
                raise error.reason from None

    within(seconds, ask, f"the server at {address}")


def no_retries_of_its_own() -> None:
    """MLflow repeats requests, also those that create a run, when an answer is lost: two runs where one was asked for."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
