"""Scores of a cross-encoder for exactly the passages that a student's training will visit (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from simlm.corpus.store import CorpusStore
from simlm.models.crossencoder import PairScorer
from simlm.progress import progress
from simlm.training.groups import Groups
from simlm.training.passage_cache import PassageCache
from simlm.training.schedule import Schedule
from simlm.training.spill import Spill

PAIRS_AT_ONCE = 16_384
"""Pairs that are joined, sorted by length and scored together."""


def visits_per_query(queries: int, seen: np.ndarray, items: int, seed: int) -> np.ndarray:
    """In how many epochs a training visits each query, shape (queries,).

    Parameters
    ----------
    seen
        Numbers of the queries that are trained on.
    items
        Length of the training: steps × global batch.

    >>> visits_per_query(4, np.array([0, 2, 3]), 7, seed=1).sum()
    np.int64(7)
    """
    counts = np.zeros(queries, np.int64)
    counts[seen] = items // len(seen)
    order = Schedule(len(seen), items, seed, lambda _, index: index)
    for item in range(items - items % len(seen), items):
        counts[seen[order[item]]] += 1
    return counts


def visited_passages(groups: Groups, epochs: np.ndarray, n: int, seed: int, rotation: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Rows that a training visits, query by query, and where each query's begin.

    Parameters
    ----------
    epochs
        Result of :func:`visits_per_query`.
    n
        Hard negatives per query and step.

    Returns
    -------
    numpy.ndarray, numpy.ndarray
        int32 rows on disk, sorted within a query; int64 offsets, shape (queries + 1,).
    """
    spill, lengths = Spill(np.int32, folder), np.zeros(len(groups), np.int64)
    for query, count in enumerate(epochs.tolist()):
        if count:
            rows = groups.visited(seed, range(count), query, n, rotation)
            lengths[query] = len(rows)
            spill.append(rows)
    return spill.finish(), np.concatenate([[0], np.cumsum(lengths)])


def listed_passages(groups: Groups, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """All positives and negatives of every query, as :func:`visited_passages` gives those that a training visits."""
    spill, lengths = Spill(np.int32, folder), np.zeros(len(groups), np.int64)
    for query in range(len(groups)):
        rows = np.unique(np.concatenate([groups.positives_of(query), groups.negatives_of(query)]))
        lengths[query] = len(rows)
        spill.append(rows)
    return spill.finish(), np.concatenate([[0], np.cumsum(lengths)])


def score_visited(
    scorer: PairScorer, store: CorpusStore, texts: list[str], rows: np.ndarray, offsets: np.ndarray, folder: Path, hints: Any = None
) -> Iterator[np.ndarray]:
    """Yield the raw logits of each query's rows, in turn; ``rows`` and ``offsets`` as :func:`visited_passages` gives them.

    Parameters
    ----------
    texts
        Of all queries, by number.
    hints
        A :class:`simlm.lexical.hints.LexicalHints` if the scorer reads them.
    """
    passages = PassageCache(store, [rows], scorer.passages, folder)
    queries = scorer.queries(texts)
    for first, last in progress(list(_chunks(offsets)), None, "Scoring with the teacher", unit="blocks"):
        own = rows[offsets[first] : offsets[last]]
        repeated = np.repeat(np.arange(first, last), np.diff(offsets[first : last + 1]))
        scores = scorer.score_pairs(queries, repeated, passages.take(own), hints and hints(repeated, own))
        for query in range(first, last):
            yield scores[offsets[query] - offsets[first] : offsets[query + 1] - offsets[first]]


def _chunks(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """Runs of queries with about :data:`PAIRS_AT_ONCE` pairs together."""
    first = 0
    while first < len(offsets) - 1:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + PAIRS_AT_ONCE, side="right")) - 1)
        yield first, last
        first = last
