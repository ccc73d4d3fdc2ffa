"""Progress of long work: a bar on a terminal, a plain line now and then in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from simlm import processes

Item = TypeVar("Item")


def progress(items: Iterable[Item], total: int | None, what: str, *, unit: str = "", seconds: float = 10.0) -> Iterator[Item]:
    """Pass ``items`` on while reporting how far they have come to standard error.

    Parameters
    ----------
    items
        Anything iterable.
    total
        Number of items, if known.
    what
        Start of each line, such as ``"Encoding passages"``.
    unit
        Name of an item, for the rate.
    seconds
        Time between two lines when standard error is not a terminal.

    >>> list(progress([1, 2], 2, "Counting"))
    [1, 2]
    """
    if sys.stderr.isatty() and processes.is_main():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=what, unit=f" {unit or 'it'}", mininterval=0.5)
        return
    if not processes.is_main():
        yield from items
        return
    start = last = time.monotonic()
    done = 0
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            rate = done / (now - start)
            share = f"{done:,} of {total:,} ({done / total:.0%}), {span((total - done) / rate)} to go" if total else f"{done:,}"
            print(f"{what}: {share}, {rate:,.1f} {unit or 'items'}/s", file=sys.stderr, flush=True)
    if time.monotonic() - start >= seconds:
        print(f"{what}: {done:,} {unit or 'items'} in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def span(seconds: float) -> str:
    """A time for people, in two units at most.

    >>> [span(seconds) for seconds in (0.4, 45, 65, 600, 5000, 200_000)]
    ['0 s', '45 s', '1 min 5 s', '10 min', '1 h 23 min', '2 d 7 h']
    """
    whole = round(seconds)
    for size, unit, smaller, small in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def say(message: str) -> None:
    """One line about what a stage does, to standard error; of several processes only the main one speaks."""
    if not processes.is_main():
        return
    print(message, file=sys.stderr, flush=True)
