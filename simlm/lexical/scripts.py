"""What the scripts of the world ask of an analyzer: marks that belong to letters, words without borders, forms that are one letter."""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from itertools import pairwise

UNBORDERED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Burmese
    "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"  # Korean: words have borders, but Lucene takes its syllables in pairs as well
    "\u1780-\u17ff\u19e0-\u19ff"  # Khmer
    "\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf"  # Tai Le, New Tai Lue, Tai Tham, Tai Viet
    "\u3005-\u3007\u3021-\u3029\u3031-\u303c\u3041-\u30fa\u30fc-\u312f\u31a0-\u31bf\u31f0-\u31ff"  # kana, bopomofo, iteration marks
    "\u2e80-\u2fdf\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uf900-\ufaff\uff66-\uff9d"  # Han, Yi, half-width kana
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"  # more kana and Han
)
"""Scripts that write words without a border, as a class of a regular expression."""

_ARABIC = re.compile(r"(?<=[\u0600-\u06ff])\u200c(?=[\u0600-\u06ff])")


@functools.cache
def marks() -> str:
    """All combining marks, as a class of a regular expression."""
    ranges: list[list[int]] = []
    for code in range(0x300, sys.maxunicode + 1):
        if unicodedata.category(chr(code))[0] == "M":
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


@functools.cache
def tokens() -> re.Pattern[str]:
    """Runs of letters of unbordered scripts (group 1), and all other words; marks belong to the letter before them."""
    unbordered = rf"(?=[{UNBORDERED}])[\w{marks()}][{marks()}]*"
    bordered = rf"(?![{UNBORDERED}])\w[{marks()}]*"
    return re.compile(rf"((?:{unbordered})+)|(?:{bordered})+")


@functools.cache
def clusters() -> re.Pattern[str]:
    """A letter with its marks: what a reader counts as one."""
    return re.compile(rf"\w[{marks()}]*|[{marks()}]+")


def normalised(text: str) -> str:
    """One form for what is one text: composed letters, full-width Latin as Latin, half-width kana as kana, ligatures and Arabic letters in
    the forms of their places, as PDF files have them, as letters, digits as 0 to 9.

    >>> normalised("cafe\\u0301") == "café", normalised("ＡＢＣ１２３"), normalised("ｶﾞ"), normalised("१२३")
    (True, 'ABC123', 'ガ', '123')
    >>> normalised("x²"), normalised("می\\u200cخواهم"), normalised("ﬁnd"), normalised("ﻛﺘﺎﺏ")
    ('x²', 'می خواهم', 'find', 'كتاب')
    """
    text = _ARABIC.sub(" ", text)  # a Persian word that is written in two
    return unicodedata.normalize("NFC", text.translate(_FORMS)).replace("\u200c", "")


class _Forms(dict[int, "str | None"]):
    """Translation of characters, one at a time; what :func:`str.translate` asks for is remembered."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        if 0xFF01 <= code <= 0xFF9F or 0xFB00 <= code <= 0xFDFF or 0xFE70 <= code <= 0xFEFC:
            letter = unicodedata.normalize("NFKC", letter)
        elif code > 127 and unicodedata.category(letter) == "Nd":
            letter = str(unicodedata.decimal(letter))
        self[code] = letter
        return letter


_FORMS = _Forms({0x00AD: None, 0x200D: None, 0x2060: None, 0xFEFF: None, 0x200B: " "})
"""Soft hyphens and joiners stand inside words and are no part of them; a zero-width space is a border that nobody sees."""


def bigrams(run: str) -> list[str]:
    """Neighbouring letters, with their marks, of a run that has no borders; one letter alone stays alone (Lucene's CJKBigramFilter).

    >>> bigrams("東京都"), bigrams("水"), bigrams("น้ำใจ")
    (['東京', '京都'], ['水'], ['น้ำ', 'ำใ', 'ใจ'])
    """
    letters = clusters().findall(run)
    return [first + second for first, second in pairwise(letters)] or letters
