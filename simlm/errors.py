"""The one exception that a user sees: a sentence that says what, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Wrong input or environment. The command line prints the message alone and exits with code 2."""

    code = 2


class OutOfTime(UserError):
    """The job's wall time is nearly over and the stage has saved what it has; exit code 75 (sysexits: try again later)."""

    code = 75


class Interrupted(UserError):
    """A signal ended the stage, which has saved what it has; exit code 128 plus the signal's number, as shells give it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def one_line(text: str) -> str:
    """A message as one line of printable text: what a foreign file holds must not move the cursor or colour a terminal.

    >>> one_line("the id 'a\\x1b[31m'\\n is odd\\u202e")
    "the id 'a\\\\x1b[31m' is odd\\\\u202e"
    """
    line = " ".join(text.split())
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in line)


def nearest(word: str, candidates: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest candidate, or an empty string.

    >>> nearest("retreiver1", ["bm25", "retriever1"])
    "; did you mean 'retriever1'?"
    >>> nearest("zzz", ["bm25"])
    ''
    """
    close = difflib.get_close_matches(str(word), list(candidates), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
