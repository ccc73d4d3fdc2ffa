"""Re-ranking of a system's runs with a cross-encoder."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simlm.errors import UserError
from simlm.lexical.bm25 import Bm25Index
from simlm.lexical.hints import LexicalHints
from simlm.models.crossencoder import PairScorer
from simlm.runs.runs import Ranking, best_first
from simlm.training.passage_cache import PassageCache

QUERIES_AT_ONCE = 128
"""Queries whose pairs are sorted by length and scored together."""


def reranked(ranking: Ranking, logits: np.ndarray) -> Ranking:
    """One query's run after its first passages got new scores.

    The re-ranked passages stand first, by (-logit, row). The others keep their order below them: the i-th of them
    gets the lowest logit minus i, a number that says no more than its place.

    Parameters
    ----------
    ranking
        The run before, best first.
    logits
        Scores of its first ``len(logits)`` passages.

    >>> reranked(Ranking("q", np.array([7, 8, 9]), np.array([3.0, 2.0, 1.0])), np.array([0.5, 1.5]))
    Ranking(query_id='q', passages=array([8, 7, 9]), scores=array([ 1.5,  0.5, -0.5]))
    """
    depth = len(logits)
    rows, scores = best_first(ranking.passages[:depth], np.asarray(logits, np.float64))
    below = (float(scores[-1]) if depth else 0.0) - np.arange(1, len(ranking.passages) - depth + 1)
    return Ranking(ranking.query_id, np.concatenate([rows, ranking.passages[depth:]]), np.concatenate([scores, below]))


def rerank_run(
    scorer: PairScorer, passages: PassageCache, texts: dict[str, str], rankings: list[Ranking], depth: int, index: Bm25Index | None = None
) -> Iterator[Ranking]:
    """Re-rank the first ``depth`` passages of every query.

    Parameters
    ----------
    passages
        Must hold the passages that are re-ranked.
    texts
        Query id → text.
    index
        Where the hints come from, if the scorer reads them.

    Raises
    ------
    UserError
        If the run names a query that the split does not have.
    """
    asked = _query_texts(texts, rankings)
    queries, hints = scorer.queries(asked), LexicalHints(index, asked) if index else None
    for first in range(0, len(rankings), QUERIES_AT_ONCE):
        chunk = rankings[first : first + QUERIES_AT_ONCE]
        rows = [ranking.passages[:depth] for ranking in chunk]
        lengths = [len(own) for own in rows]
        repeated, flat = np.repeat(np.arange(first, first + len(chunk)), lengths), np.concatenate(rows)
        scores = scorer.score_pairs(queries, repeated, passages.take(flat), hints and hints(repeated, flat))
        for ranking, logits in zip(chunk, np.split(scores, np.cumsum(lengths)[:-1])):
            yield reranked(ranking, logits)


def _query_texts(texts: dict[str, str], rankings: list[Ranking]) -> list[str]:
    for ranking in rankings:
        if ranking.query_id not in texts:
            raise UserError(f"the run has a query '{ranking.query_id}' that its split does not have; was it made from another corpus?")
    return [texts[ranking.query_id] for ranking in rankings]
