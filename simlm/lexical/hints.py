"""BM25's opinion of a (query, passage) pair as a number that a cross-encoder reads (Askari et al., ECIR 2023).

A cross-encoder that is small or briefly trained hardly learns to match words; told how BM25 sees a pair, it only has
to learn when BM25 is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from simlm.corpus.store import CorpusStore
from simlm.lexical.bm25 import Bm25Index

if TYPE_CHECKING:
    from simlm.context import Context


class LexicalHints:
    """Hints for pairs of some queries with passages of the indexed corpus.

    Parameters
    ----------
    index
        The experiment's BM25 index.
    texts
        The queries, by the numbers under which they are asked for.
    """

    def __init__(self, index: Bm25Index, texts: Sequence[str]) -> None:
        self.index, self.texts = index, texts

    @classmethod
    def open(cls, context: Context, store: CorpusStore, texts: Sequence[str]) -> LexicalHints:
        """Hints from the experiment's index.

        Raises
        ------
        UserError
            If the index is missing, damaged or of another corpus.
        """
        return cls(Bm25Index.load(context.paths.bm25, store.sha256), texts)

    def __call__(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """BM25 of each pair in percent of the query's best passage, rounded; 0 where they share no term.

        Parameters
        ----------
        queries
            Numbers of the queries, shape (pairs,); pairs of one query stand together.
        rows
            Corpus rows of the passages, shape (pairs,).

        Returns
        -------
        numpy.ndarray
            int64 from 0 to 100, shape (pairs,).
        """
        hints = np.zeros(len(rows), np.int64)
        borders = np.flatnonzero(np.diff(queries, prepend=-1))
        for first, last in zip(borders, [*borders[1:], len(rows)]):
            scores, best = self.index.score(self.texts[int(queries[first])], rows[first:last])
            if best > 0:
                hints[first:last] = np.rint(100 * scores.astype(np.float64) / best)
        return hints
