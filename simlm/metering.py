"""How busy the device is while a model is trained, encodes or scores: tokens with and without padding, waiting, share of the peak, what binds.

What reads a batch says how many tokens and positions it has (:func:`read`), what gives the device something to do says when
(:func:`computing`). All of it goes to the meter of the running stage; there is one, as a process runs one stage at a time. Nothing here waits
for a GPU: its times come from events, which are looked at when a line is written anyway.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

WAITS = 0.1
"""Share of the time from which a device that waits is said to wait for its host."""

LATE = 0.5
"""Share of the pieces from which a host that has not prepared the next one in time binds, although the waiting is spread too thin to be seen."""

BUSY = 0.4
"""Share of the peak from which arithmetic binds; the best trainings of models of this size reach 0.25 to 0.41 (llm.c, ModernBERT)."""

SPEEDS = ("examples_per_second", "tokens_per_second", "padded_tokens_per_second", "waited", "late", "peak_share")
"""What a curve says about speed, and nothing else of it may differ between two runs of a training."""


@dataclass(frozen=True)
class Known:
    """What is known beforehand of a stage on a device.

    Attributes
    ----------
    operations
        Floating-point operations of a unit of work (an optimiser step, a passage, a pair).
    peak
        Operations per second of all devices of the job, from the data sheet.
    """

    operations: float
    peak: float


@dataclass(frozen=True)
class Figures:
    """What a meter has seen.

    Attributes
    ----------
    tokens, positions
        Tokens that were read, and the positions that they took with their padding.
    seconds
        Time that it took.
    waited
        Share of the time in which the device had nothing to do.
    late
        Share of the pieces before which a GPU had run dry, or that it did as fast as it was told to; None on a processor.
    peak_share
        Share of the device's peak; None where the peak is not known.
    """

    tokens: int
    positions: int
    seconds: float
    waited: float
    late: float | None = None
    peak_share: float | None = None

    @property
    def padding(self) -> float:
        """Share of the positions that are no token.

        >>> Figures(tokens=75, positions=100, seconds=1.0, waited=0.0).padding
        0.25
        """
        return 1 - self.tokens / self.positions if self.positions else 0.0

    @property
    def curve(self) -> dict[str, float]:
        """Values for a line of a training's curve, which counts its tokens itself, over all processes."""
        return {name: round(value, 3) for name in ("waited", "late", "peak_share") if (value := getattr(self, name)) is not None}

    @property
    def metrics(self) -> dict[str, float]:
        """Values for a stage's record: those of this process."""
        real, padded = self.tokens / self.seconds, self.positions / self.seconds
        return {"tokens_per_second": round(real, 1), "padded_tokens_per_second": round(padded, 1), "padding": round(self.padding, 3), **self.curve}


def binds(waited: float, late: float | None = None, peak_share: float | None = None) -> str | None:
    """What keeps the device from being faster, in a word; None where no peak is known and it does not wait.

    ``host``: it waits for a tenth of the time, or got more than half of its pieces too late; else ``arithmetic`` where it reaches
    :data:`BUSY` of its peak; else ``memory``, which it then waits for.

    >>> binds(0.2), binds(0.01, late=0.9), binds(0.01, 0.0, 0.5), binds(0.01, 0.0, 0.1), binds(0.01)
    ('host', 'host', 'arithmetic', 'memory', None)
    """
    if waited >= WAITS or (late or 0.0) > LATE:
        return "host"
    return None if peak_share is None else "arithmetic" if peak_share >= BUSY else "memory"


def sentence(metrics: dict[str, Any]) -> str:
    """The figures of a record in words; empty where it has none.

    >>> sentence({"tokens_per_second": 9000.0, "padded_tokens_per_second": 12000.0, "padding": 0.25, "waited": 0.02})
    '9,000 tokens/s (12,000 with padding, of which 25 %), waited for the host 2 % of the time'
    """
    if not {"waited", "tokens_per_second", "padded_tokens_per_second", "padding"} <= metrics.keys():
        return ""
    padded = f"{metrics['padded_tokens_per_second']:,.0f} with padding, of which {100 * metrics['padding']:.0f} %"
    said = f"{metrics['tokens_per_second']:,.0f} tokens/s ({padded}), waited for the host {100 * metrics['waited']:.0f} % of the time"
    if "peak_share" in metrics:
        said += f", {100 * metrics['peak_share']:.0f} % of the device's peak"
    bound = binds(metrics["waited"], metrics.get("late"), metrics.get("peak_share"))
    return said + (f"; {bound} binds" if bound else "")


@dataclass
class Meter:
    """What one stage does; :meth:`take` reads and empties it.

    Attributes
    ----------
    seconds, units
        Time that was spent :meth:`working`, and the work that was done in it.
    """

    known: Known | None = None
    tokens: Any = 0
    positions: int = 0
    computed: float = 0.0
    pieces: int = 0
    tardy: int = 0
    seconds: float = 0.0
    units: float = 0
    _events: deque = field(default_factory=deque)
    _last: Any = None
    _paused: bool = False

    def begin(self, fetched: bool = False) -> _Piece:
        """Something to do begins; ``fetched``: its result is fetched before it ends, so that the device runs dry behind it."""
        piece = _Piece(time.perf_counter(), _event(), fetched)
        # Asked, not waited for.
        if piece.start is not None and not fetched and self._last is not None and self._last.query():
            self.tardy += 1
        return piece

    def end(self, piece: _Piece) -> None:
        """The device has been told all of it."""
        self.pieces += 1
        if piece.start is None:
            self.computed += time.perf_counter() - piece.began
            return
        self._last = _event()
        self._events.append((piece, self._last))

    def _settle(self) -> None:
        """Add the times of the pieces that the GPU has done."""
        while self._events and self._events[0][1].query():
            piece, last = self._events.popleft()
            seconds = piece.start.elapsed_time(last) / 1000
            self.computed += seconds
            self.tardy += piece.fetched and piece.told is not None and piece.told > 0.9 * seconds

    @contextmanager
    def working(self) -> Iterator[None]:
        """The stage does what it is there for; what it reads before and writes after is not its speed."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began

    @property
    def metrics(self) -> dict[str, float]:
        """Values for the record of a stage that was :meth:`working`; none if it had nothing to do."""
        return self.take(self.seconds, self.units).metrics if self.positions else {}

    def take(self, seconds: float, units: float) -> Figures:
        """The figures of the last ``seconds``, in which ``units`` of work were done; the meter starts anew."""
        self._settle()
        on_gpu = self._last is not None
        figures = Figures(
            int(self.tokens),
            self.positions,
            seconds,
            min(1.0, max(0.0, 1 - self.computed / seconds)),
            self.tardy / self.pieces if on_gpu and self.pieces else None,
            units * self.known.operations / seconds / self.known.peak if self.known else None,
        )
        self.tokens, self.positions, self.computed, self.pieces, self.tardy = 0, 0, 0.0, 0, 0
        return figures


@dataclass
class _Piece:
    began: float
    start: Any
    fetched: bool
    told: float | None = None

    def all_told(self) -> None:
        """The device has been told everything; what follows only fetches the result."""
        self.told = time.perf_counter() - self.began


def _event() -> Any:
    """A moment on the GPU, or None where there is none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


_meter = Meter(_paused=True)


def meter() -> Meter:
    """The meter of the running stage."""
    return _meter


@contextmanager
def metered(known: Known | None = None) -> Iterator[Meter]:
    """A new meter for what runs inside; what is known of the stage is what the meter around it knows, if nothing is said."""
    global _meter
    before = _meter
    _meter = Meter(known or before.known)
    try:
        yield _meter
    finally:
        _meter = before


def read(tokens: Any, positions: int) -> None:
    """A forward pass reads so many tokens (a number or a tensor with one, which is not waited for) at so many positions."""
    if not _meter._paused:
        _meter.tokens = _meter.tokens + tokens
        _meter.positions += positions


@contextmanager
def computing(tokens: int, positions: int) -> Iterator[_Piece]:
    """The device computes what is asked inside, and its result is fetched there; everything else is waiting.

    The batch of ``tokens`` at ``positions`` is counted unless what computes counts the pieces in which it reads it.
    """
    own, before = _meter, _meter.positions
    if own._paused:
        yield _Piece(0.0, None, True)
        return
    piece = own.begin(fetched=True)
    try:
        yield piece
    finally:
        own.end(piece)
    if own.positions == before:
        read(tokens, positions)


@contextmanager
def paused() -> Iterator[None]:
    """What runs inside is no part of the stage's work, such as the look at held-out queries."""
    own, before = _meter, _meter._paused
    own._paused = True
    try:
        yield
    finally:
        own._paused = before
