"""BM25 over the queries of a split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from simlm.hardware import available_cores
from simlm.lexical.bm25 import Bm25Index
from simlm.progress import progress
from simlm.runs.found import Found
from simlm.runs.runs import Ranking

if TYPE_CHECKING:
    from simlm.corpus.store import CorpusStore

SMALL_INDEX = 200_000
"""Below this many passages a query takes so little time that threads only get into each other's way."""


def search_split(index: Bm25Index, store: CorpusStore, split: str, depth: int) -> Found:
    """The rankings of a split's queries, streamed in their order, without the passages that are the queries themselves."""
    return Found(_rankings(index, store, split, Found.asked(depth, own := store.own_rows(split))), depth, own)


def _rankings(index: Bm25Index, store: CorpusStore, split: str, depth: int) -> Iterator[Ranking]:
    queries = store.queries(split)
    threads = available_cores() if len(index) > SMALL_INDEX else 1
    ranked = index.rank(queries.values(), depth, threads)
    for query_id, (rows, scores) in progress(zip(queries, ranked), len(queries), f"Searching '{split}' with BM25", unit="queries"):
        yield Ranking(query_id, rows, scores)
