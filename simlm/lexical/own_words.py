"""Queries out of a passage's own words, its title or its first sentence, and the passage without them.

A query that stands in its passage teaches to find equal words. The inverse cloze task therefore takes the sentence out of the
passage that is trained on (Lee, Chang and Toutanova, "Latent Retrieval for Weakly Supervised Open Domain Question Answering", ACL 2019).
"""

from __future__ import annotations

import re

from simlm.lexical.scripts import UNBORDERED

LEAST_REST = 5
"""Fewest words that a passage must have beside its query."""

_WORD = re.compile(f"[{UNBORDERED}]|\\w+")
_END = re.compile(r"[.!?][\"'\u2019\u201d)\]]*(?=\s)|[\u3002\uff01\uff1f\u061f\u0964]+|\n\s*\n")


def count_words(text: str) -> int:
    """Words of a text; where words have no borders every letter counts as one.

    >>> count_words("Bread, made of flour."), count_words("\u4fe1\u606f\u68c0\u7d22")
    (4, 4)
    """
    return len(_WORD.findall(text))


def first_sentence(text: str, fewest: int = 1) -> str:
    """The first sentence; it goes on behind an end that leaves fewer than ``fewest`` words, which is usually an abbreviation's.

    Returns
    -------
    str
        Empty where the text has no end of a sentence before its own.

    >>> first_sentence("Dr. Who travels in time. He has a box."), first_sentence("Dr. Who travels in time. He has a box.", 3)
    ('Dr.', 'Dr. Who travels in time.')
    >>> first_sentence("Only one sentence.")
    ''
    """
    for end in _END.finditer(text):
        sentence = " ".join(text[: end.end()].split())
        if count_words(sentence) >= fewest and text[end.end() :].strip():
            return sentence
    return ""


def without_query(query: str, title: str, text: str) -> tuple[str, str]:
    """Title and text of a passage without the words of ``query``, wherever they stand there one after the other.

    What would leave a text empty is left in.

    >>> without_query("Sourdough", "Sourdough", "A bread of  flour. It rises."), without_query("A bread of flour.", "Sourdough", "A bread of  flour. It rises.")
    (('', 'A bread of  flour. It rises.'), ('Sourdough', 'It rises.'))
    >>> without_query("dough", "Sourdough", "Sourdough"), without_query("Risotto", "", "Risotto")
    (('Sourdough', 'Sourdough'), ('', 'Risotto'))
    """
    words, rest = query.split(), text
    if words and " ".join(words).casefold() in " ".join(text.split()).casefold():
        stands = re.compile(r"(?<!\w)" + r"\s+".join(map(re.escape, words)) + r"(?!\w)", re.IGNORECASE)
        rest = stands.sub(" ", text).strip() or text
    return ("" if title.split() == words else title), rest
