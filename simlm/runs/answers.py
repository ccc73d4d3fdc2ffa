"""Whether a passage contains an answer to a question, as open-domain question answering judges retrieval (DPR, Karpukhin et al., EMNLP 2020).

Passage and answer are put into Unicode's decomposed form (NFD) and cut into lower-case tokens: runs of letters, digits and marks,
and any other single character that is neither space nor control. An answer is in a passage if its tokens stand there one
behind the other. Titles are not read.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from simlm.corpus.store import CorpusStore


@cache
def _token() -> Any:
    # Python's own `re` knows no classes of characters beyond letters and digits.
    import regex

    return regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")


def tokens(text: str) -> list[str]:
    """Tokens of a text as answers are looked for in it.

    >>> tokens("U.S. state-of-the-art")
    ['u', '.', 's', '.', 'state', '-', 'of', '-', 'the', '-', 'art']
    """
    return [token.lower() for token in _token().findall(unicodedata.normalize("NFD", text))]


def framed(text: str) -> str:
    """The tokens between blanks, of which none holds one: a sequence of tokens is in another if its frame is in that one's.

    >>> framed("Bach's") in framed("by Bach's son"), framed("Bach") in framed("Bachelor")
    (True, False)
    """
    return f" {' '.join(tokens(text))} "


def frames(answers: Iterable[str]) -> list[str]:
    """Answers as they are looked for; those without a token, which would be everywhere, are left out.

    >>> frames(["42", " \\u200b"])
    [' 42 ']
    """
    return [frame for answer in answers if (frame := framed(answer)).strip()]


class AnswerMatcher:
    """Looks for the answers of a split's questions in passages of the corpus.

    Parameters
    ----------
    answers
        Question id → answers, any of which will do.
    """

    def __init__(self, store: CorpusStore, answers: Mapping[str, Sequence[str]]) -> None:
        self.store, self.answers = store, answers

    def contains(self, query_id: str, rows: np.ndarray) -> np.ndarray:
        """Which passages contain an answer: bool, shape (rows,); none does where the question has no answers."""
        wanted = frames(self.answers.get(query_id, ()))
        if not wanted or not len(rows):
            return np.zeros(len(rows), bool)
        texts = (framed(text) for text in self.store.texts(rows)[1])
        return np.fromiter((any(answer in text for answer in wanted) for text in texts), bool, len(rows))

    def first(self, query_id: str, rows: np.ndarray) -> int | None:
        """Rank, from 1, of the first of the passages that contains an answer; None: none does. Those behind it are not read."""
        for start in range(0, len(rows), 10):
            if len(found := np.flatnonzero(self.contains(query_id, rows[start : start + 10]))):
                return start + int(found[0]) + 1
        return None
