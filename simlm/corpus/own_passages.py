"""Whether the queries of a split are passages of the corpus themselves, as in ArguAna, Quora and CQADupstack.

There the passage with the query's id is the query: it stands first in every run and answers nothing. BEIR and Pyserini leave it
out of the results. In other collections (MS MARCO, Cranfield) queries and passages are both counted from 1, and equal numbers mean
nothing: numbers count only where the texts are alike as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORD = re.compile(r"\w+")


@dataclass
class OwnPassages:
    """Of how many queries of a split the id is the id of a passage.

    Attributes
    ----------
    queries
        Queries of the split.
    shared
        Those whose id a passage has.
    meant
        Those whose id a passage has that is the query by all appearances: the id is no number, or the texts are alike.
    """

    queries: int = 0
    shared: int = 0
    meant: int = 0

    def left_out(self, wanted: str | bool) -> bool:
        """Whether the passages are left out; ``auto``: where those of most queries are meant."""
        return 2 * self.meant > self.queries if wanted == "auto" else bool(wanted) and self.shared > 0


def is_own(query_id: str, query: str, title: str, text: str) -> bool:
    """Whether a passage of the same id is the query: the id is no number, or half of the query's words stand in the passage.

    >>> is_own("test-politics-1a", "we should", "", "they must"), is_own("12", "what is a tide?", "", "Granite is quartz.")
    (True, False)
    >>> is_own("12", "What is a tide?", "what is a tide", "The moon causes it.")
    True
    """
    if not query_id.isdecimal():
        return True
    passage = f"{title} {text}".casefold()
    words = set(_WORD.findall(query.casefold()))
    return query.casefold() in passage or 2 * len(words & set(_WORD.findall(passage))) > len(words)
