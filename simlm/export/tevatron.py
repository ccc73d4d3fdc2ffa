"""Lists of passages as Tevatron's JSON lines, with their texts: hard negatives for its training, runs for its re-rankers.

A line of negatives is ``{"query_id", "query", "positive_passages": [{"docid", "title", "text"}, …], "negative_passages": […]}``; a line of a run
is a pair, ``{"query_id", "query", "docid", "title", "text", "score"}``, best first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from simlm.corpus.store import CorpusStore
from simlm.errors import UserError
from simlm.files import atomic_file
from simlm.runs.negatives import MinedQuery
from simlm.runs.runs import Ranking


def write_negatives(file: Path, queries: Iterable[MinedQuery], store: CorpusStore) -> int:
    """Write positives and hard negatives of training queries; returns the number of queries."""
    texts = store.queries("train")

    def lines() -> Iterator[dict[str, Any]]:
        for query_id, positives, negatives in queries:
            passages = {"positive_passages": _passages(store, positives), "negative_passages": _passages(store, negatives)}
            yield {"query_id": query_id, "query": _query(texts, query_id), **passages}

    return _write(file, lines())


def write_run(file: Path, rankings: Iterable[Ranking], store: CorpusStore, split: str, depth: int | None = None) -> int:
    """Write the pairs of a run, the first ``depth`` of each query; returns their number."""
    texts = store.queries(split)

    def lines() -> Iterator[dict[str, Any]]:
        for query_id, rows, scores in rankings:
            query = _query(texts, query_id)
            for passage, score in zip(_passages(store, rows[:depth]), scores[:depth].tolist()):
                yield {"query_id": query_id, "query": query, **passage, "score": score}

    return _write(file, lines())


def _query(texts: dict[str, str], query_id: str) -> str:
    if query_id not in texts:
        raise UserError(f"the corpus has no query '{query_id}'; were these lists made from another corpus?")
    return texts[query_id]


def _passages(store: CorpusStore, rows: np.ndarray) -> list[dict[str, str]]:
    return [{"docid": one, "title": title, "text": text} for one, title, text in zip(store.ids(rows), *store.texts(rows))]


def _write(file: Path, lines: Iterable[dict[str, Any]]) -> int:
    count = 0
    with atomic_file(file) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as stream:
        for line in lines:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
            count += 1
    return count
