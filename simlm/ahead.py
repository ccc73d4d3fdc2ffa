"""Work done ahead of its use, in a thread: for steps that wait for another device or let go of Python's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")


def ahead(work: Callable[[Item], Result], items: Iterable[Item], depth: int = 2) -> Iterator[Result]:
    """Like ``map``, in the same order, with up to ``depth`` results computed before they are asked for.

    An exception of ``work`` is raised where its result is asked for; when the iterator is closed, what has not begun is given up.

    >>> list(ahead(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(1) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
