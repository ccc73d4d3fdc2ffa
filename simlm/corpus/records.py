"""Streams of passages, queries and judgements that can say where each of their items stands."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from simlm.errors import UserError

Passage: TypeAlias = tuple[str, str, str]
"""External id, title (``""`` when absent), text."""
Query: TypeAlias = tuple[str, str]
"""Id, text."""
Judgement: TypeAlias = tuple[str, str, int]
"""Query id, passage id, grade."""


@dataclass(frozen=True)
class Records:
    """Items that can be read more than once; ``where(n)`` names the place of the n-th item (from 1) for error messages.

    >>> records = Records(lambda: iter("ab"), lambda n: f"letters.txt:{n}")
    >>> list(records), records.where(2)
    (['a', 'b'], 'letters.txt:2')
    """

    read: Callable[[], Iterable[Any]]
    where: Callable[[int], str]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.read())

    @classmethod
    def of(cls, items: Iterable[Any], what: str) -> Records:
        """Wrap any iterable; its items are called ``what`` 1, 2, …"""
        return items if isinstance(items, Records) else cls(lambda: items, lambda n: f"{what} {n}")


Answers: TypeAlias = tuple[str, Iterable[str]]
"""Query id, answers."""


class Split(NamedTuple):
    """Where the queries of one split come from, and their judgements or answers, or both."""

    queries: Iterable[Query]
    qrels: Iterable[Judgement] | None
    answers: Iterable[Answers] | None = None


@dataclass(frozen=True)
class Collection:
    """What a source delivers: passages, splits, facts for the manifest, and counts of what it left out itself."""

    passages: Iterable[Passage]
    splits: dict[str, Split]
    facts: dict[str, Any]
    dropped: Callable[[], dict[str, int]] = field(default=dict)


def clean_id(value: object, where: Callable[[int], str], n: int, what: str) -> str:
    """An id as TREC files can hold it: whole numbers become text, anything else but a word is refused with its place, ``where(n)``.

    >>> clean_id(12, "corpus.jsonl:{}".format, 1, "passage")
    '12'
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        found = "null" if value is None else type(value).__name__
        raise UserError(f"{where(n)}: the id of a {what} must be a string or a whole number, not {found}; give it one")
    if not value:
        raise UserError(f"{where(n)}: the id of the {what} is empty; give it one")
    if value.split() != [value]:
        raise UserError(f"{where(n)}: the {what} id {value!r} holds white space, which TREC run files cannot; replace it, for example with '_'")
    if not value.isprintable() and any(unicodedata.category(letter) == "Cc" for letter in value):
        # A zero byte ends an id in tools written in C, and an escape sequence moves the cursor of whoever reads the file.
        raise UserError(f"{where(n)}: the {what} id {value!r} holds control characters; remove them")
    return clean_text(value, where, n, f"{what} id")


LARGEST_GRADE = 2**31 - 1
"""Tools below ir-measures hold grades as 32-bit numbers."""

_GRADE = re.compile(r"[+-]?[0-9]+(\.0*)?")


def clean_grade(value: object, where: Callable[[int], str], n: int) -> int:
    """A grade as trec_eval knows it: a whole number, also where it is written ``1.0`` or as text.

    >>> clean_grade("1.0", "test.tsv:{}".format, 1), clean_grade(2.0, "test.tsv:{}".format, 2)
    (1, 2)
    """
    grade: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        grade = value
    elif isinstance(value, float) and value.is_integer():
        grade = int(value)
    elif isinstance(value, str) and len(value) <= 20 and _GRADE.fullmatch(value.strip()):
        grade = int(value.strip().partition(".")[0])
    if grade is None:
        found = "null" if value is None else repr(value)[:40]
        raise UserError(f"{where(n)} is not a judgement: the grade must be a whole number, not {found}; nDCG and trec_eval know no others")
    if not -LARGEST_GRADE <= grade <= LARGEST_GRADE:
        raise UserError(f"{where(n)} is not a judgement: the grade {grade} is too large a number; evaluation tools hold grades in 32 bits")
    return grade


def clean_text(value: object, where: Callable[[int], str], n: int, what: str) -> str:
    """A string that UTF-8 can hold, or a sentence with its place."""
    if not isinstance(value, str):
        found = "null" if value is None else type(value).__name__
        raise UserError(f"{where(n)}: the {what} must be a string, not {found}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UserError(f"{where(n)}: the {what} holds half of a surrogate pair, which is not valid Unicode; repair or remove that character") from None
    return value
