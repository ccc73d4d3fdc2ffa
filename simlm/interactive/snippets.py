"""The part of a passage worth showing: where the query's words are."""

from __future__ import annotations

import re

WORD = re.compile(r"\w+")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
"""Control characters and marks that turn the direction of text: a terminal or a page must not obey them."""

TOO_COMMON = frozenset(WORD.findall("a an and are as at be by for from how in is it of on or that the this to with"))


def plain(text: str) -> str:
    """``text`` in one line, without control characters.

    >>> plain("red\\x1b[31m\\n  apple")
    'red [31m apple'
    """
    return " ".join(CONTROL.sub(" ", text).split())


def query_words(query: str) -> set[str]:
    """Words of a query worth marking, in lower case.

    >>> sorted(query_words("swap two columns of the Matrix"))
    ['columns', 'matrix', 'swap', 'two']
    """
    return {word for word in WORD.findall(query.lower()) if word not in TOO_COMMON}


def marked(text: str, query: str) -> list[tuple[str, bool]]:
    """Cut ``text`` into parts, telling of each whether it is a word of the query.

    >>> marked("Swap it.", "swap")
    [('Swap', True), (' it.', False)]
    """
    wanted, parts, last = query_words(query), [], 0
    for match in WORD.finditer(text):
        if match[0].lower() in wanted:
            parts += [(text[last : match.start()], False), (match[0], True)]
            last = match.end()
    parts.append((text[last:], False))
    return [part for part in parts if part[0]]


def snippet(text: str, query: str, width: int = 240) -> str:
    """At most ``width`` characters of ``text`` around the place with most different words of the query, cut at words.

    >>> snippet("one two three four five six seven eight", "six", 20)
    '… six seven eight'
    >>> snippet("short enough", "six")
    'short enough'
    """
    text = plain(text)
    if len(text) <= width:
        return text
    room, wanted = max(width - 4, 1), query_words(query)
    places = [(match.start(), match.end(), match[0].lower()) for match in WORD.finditer(text) if match[0].lower() in wanted]
    best, most = 0, 0
    for start, _, _ in places:
        inside = {word for begin, end, word in places if start <= begin and end <= start + room * 3 // 4}
        if len(inside) > most:
            best, most = start, len(inside)
    first = max(0, min(best - room // 4, len(text) - room)) if best > room * 3 // 4 or not most else 0
    if first:
        first = text.find(" ", max(first - 1, 0), best) + 1 or best
    last = first + room
    if last < len(text):
        last = text.rfind(" ", first, last + 1)
        last = first + room if last <= first else last
    return ("… " if first else "") + text[first:last].strip() + (" …" if last < len(text) else "")


def breakable(title: str) -> list[str]:
    """Parts of a title between which a line may break: long names are cut at their dots and underscores.

    >>> breakable("numpy.linalg.matrix_rank")
    ['numpy.', 'linalg.', 'matrix_', 'rank']
    """
    return re.split(r"(?<=[._/])(?=\w)", title)


def score_text(score: float) -> str:
    """A score with four significant digits.

    >>> score_text(12.5316), score_text(0.0298)
    ('12.53', '0.02980')
    """
    return f"{score:#.4g}"
