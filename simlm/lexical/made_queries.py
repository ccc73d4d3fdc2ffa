"""Queries made of the passages of a corpus: which passages, which queries are fit to be trained on, and into which split they go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from simlm.config.corpora import MadeQueries
from simlm.corpus.choice import hash64, part_of
from simlm.corpus.judged import JudgedSplit
from simlm.corpus.store import CorpusStore
from simlm.lexical.bm25 import Bm25Index, passages_of
from simlm.lexical.own_words import LEAST_REST, count_words, first_sentence, without_query
from simlm.progress import progress


class MadeQuery(NamedTuple):
    """A query, and the row and id of the passage that it was made of; ``number`` tells several of one passage apart."""

    text: str
    row: int
    passage: str
    number: int = 0

    @property
    def id(self) -> str:
        """Name of the query.

        >>> MadeQuery("bread", 3, "d7").id, MadeQuery("bread", 3, "d7", 1).id
        ('made:d7', 'made:d7:1')
        """
        return f"made:{self.passage}" + (f":{self.number}" if self.number else "")


def chosen_rows(store: CorpusStore, most: int | None) -> np.ndarray:
    """Rows of at most ``most`` passages, chosen by a hash of their ids, in the order of the corpus; 8 bytes per passage."""
    if most is None or most >= len(store):
        return np.arange(len(store))
    hashes = np.fromiter((hash64(one, "made queries") for batch in store.iter_batches() for one in batch.ids), np.uint64, len(store))
    return np.sort(np.argsort(hashes, kind="stable")[:most])


def own_queries(store: CorpusStore, rows: np.ndarray, settings: MadeQueries, dropped: Counter[str]) -> Iterator[MadeQuery]:
    """Titles or first sentences of the passages at ``rows``; those that are none, or leave too little of their passage, are counted."""
    for start in range(0, len(rows), 1000):
        block = rows[start : start + 1000]
        for row, passage, title, text in zip(block.tolist(), store.ids(block), *store.texts(block)):
            query, unfit = own_query(title, text, settings)
            if unfit:
                dropped[unfit] += 1
            else:
                yield MadeQuery(query, row, passage)


def own_query(title: str, text: str, settings: MadeQueries) -> tuple[str, str | None]:
    """The title or the first sentence of a passage, and why it cannot be asked for it, where it cannot."""
    query = " ".join((title if settings.query == "title" else first_sentence(text, settings.words[0])).split())
    if not query:
        return query, f"without_{settings.query}"
    rest = without_query(query, "", text)[1]
    return query, "nothing_beside_the_query" if count_words(rest) < LEAST_REST or key(rest) == key(query) else None


def fit_share(passages: Iterable[tuple[str, str]], settings: MadeQueries) -> float:
    """Share of some passages (title, text) that have a query of their own, of the right length; whether it finds them is not asked.

    >>> bread = "A bread of flour and water. It rises for a day and is baked in an hour."
    >>> fit_share([("Bread", bread), ("How to make bread", bread)], MadeQueries(query="title"))
    0.5
    """
    fit = [not unfit and _right_length(query, settings) for query, unfit in (own_query(title, text, settings) for title, text in passages)]
    return sum(fit) / max(1, len(fit))


def _right_length(query: str, settings: MadeQueries) -> bool:
    fewest, most = settings.words
    return fewest <= count_words(query) <= most


def usable(made: Iterable[MadeQuery], settings: MadeQueries, judged: set[str], dropped: Counter[str]) -> list[MadeQuery]:
    """Those of the right length that are no query of a judged split (``judged``: their keys) and that no second passage has; the others are counted."""
    kept: list[MadeQuery] = []
    for query in made:
        if not _right_length(query.text, settings):
            dropped["too_short_or_long"] += 1
        elif key(query.text) in judged:
            dropped["query_of_a_judged_split"] += 1
        else:
            kept.append(query)
    passages: dict[str, set[int]] = {}
    for query in kept:
        passages.setdefault(key(query.text), set()).add(query.row)
    first: dict[str, MadeQuery] = {}
    for query in kept:
        if len(passages[key(query.text)]) == 1:
            first.setdefault(key(query.text), query)
    dropped["of_several_passages_or_twice"] += len(kept) - len(first)
    return list(first.values())


def key(text: str) -> str:
    """What makes two queries the same: their words, whatever the case.

    >>> key("Bread  and butter") == key("bread and Butter")
    True
    """
    return " ".join(text.casefold().split())


def found_again(store: CorpusStore, made: Sequence[MadeQuery], within: int, analyzer: str, k1: float, b: float, titles: bool) -> list[MadeQuery]:
    """The round trip: queries for which BM25 finds the passage that they were made of among the first ``within``."""
    index = Bm25Index.build(progress(passages_of(store, titles), len(store), "Indexing passages", unit="passages"), analyzer, k1, b)
    ranked = index.rank((query.text for query in made), within)
    rankings = progress(zip(made, ranked), len(made), "Looking for the passages of made queries", unit="queries")
    return [query for query, (rows, _) in rankings if query.row in rows]


def into_splits(made: Iterable[MadeQuery], parts: dict[str, float]) -> list[JudgedSplit]:
    """Splits of queries that each have one relevant passage; all queries of a passage go into the same."""
    splits = {name: JudgedSplit(name, {}, {}) for name in parts}
    for query in made:
        split = splits[part_of(query.passage, parts)]
        split.queries[query.id], split.qrels[query.id] = query.text, {query.passage: 1}
    return list(splits.values())
