"""Apply a function to many items in threads that each own a work space; results come back in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import TypeVar

Item, Result, Space = TypeVar("Item"), TypeVar("Result"), TypeVar("Space")

CHUNK = 32
"""Items handed to a thread at once."""


def ordered_map(work: Callable[[Item, Space], Result], items: Iterable[Item], threads: int, make_space: Callable[[], Space]) -> Iterator[Result]:
    """Yield ``work(item, space)`` for each item, in order, reading only a little ahead.

    >>> list(ordered_map(lambda item, space: item * item, range(5), 2, dict))
    [0, 1, 4, 9, 16]
    """
    if threads <= 1:
        space = make_space()
        yield from (work(item, space) for item in items)
        return
    spaces: SimpleQueue[Space] = SimpleQueue()
    for _ in range(threads):
        spaces.put(make_space())

    def work_on(chunk: list[Item]) -> list[Result]:
        space = spaces.get()
        try:
            return [work(item, space) for item in chunk]
        finally:
            spaces.put(space)

    iterator = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[list[Result]]] = deque()
        while True:
            while len(waiting) < 2 * threads and (chunk := list(islice(iterator, CHUNK))):
                waiting.append(pool.submit(work_on, chunk))
            if not waiting:
                return
            yield from waiting.popleft().result()
