"""Pieces that are halved once where the device has no room for them, instead of an end without a word."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from simlm.errors import UserError
from simlm.progress import say

Result = TypeVar("Result")


class Halving:
    """The size of a piece, and what happens when one does not fit.

    Parameters
    ----------
    size, unit
        Largest piece, and what it counts, such as ``texts``.
    setting
        What the user can lower: the rest of a sentence.
    who
        Begins the sentences.

    Attributes
    ----------
    said
        The sentence about what did not fit, once it happened.

    >>> Halving(8, "texts", "encoding.batch_size").of(lambda size: [size] * 2)
    [8, 8]
    """

    def __init__(self, size: int, unit: str, setting: str, who: str = "") -> None:
        self.size, self.unit, self.setting, self.who = size, unit, setting, who
        self.said: str | None = None

    def of(self, work: Callable[[int], Result]) -> Result:
        """What ``work`` makes with pieces of at most the size that it is given; it is called again with half the size if the first did not fit.

        Raises
        ------
        UserError
            If half of a piece does not fit either.
        """
        try:
            return work(self.size)
        except torch.OutOfMemoryError:
            self.halve()
        # Outside of the clause: the error holds on to what the failed attempt had allocated.
        try:
            return work(self.size)
        except torch.OutOfMemoryError as error:
            raise self.refusal() from error

    def halve(self) -> None:
        """Half the size from now on, with a sentence.

        Raises
        ------
        UserError
            If it was halved before, or cannot be.
        """
        if self.said is not None or self.size < 2:
            raise self.refusal()
        whole, self.size = self.size, self.size // 2
        of_half = f"from here on a piece has at most {self.size:,} (lower {self.setting})"
        self.said = f"{self.who}a piece of {whole:,} {self.unit} does not fit into the device's memory; {of_half}"
        say(f"caution: {self.said}")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def refusal(self) -> UserError:
        """Why it does not go on."""
        piece = f"{self.size:,} {self.unit}{', half of what was asked for,' if self.said else ''}"
        return UserError(f"{self.who}a piece of {piece} does not fit into the device's memory; lower {self.setting}, or free the device")
