"""BM25's hints against searched scores, and joined pairs that carry them against the tokenizer's."""

from __future__ import annotations

import numpy as np
import pytest
from pair_tokens import pair_tokens

from simlm.lexical.bm25 import Bm25Index
from simlm.lexical.hints import LexicalHints
from simlm.models.pairs import PairJoiner

DOCUMENTS = ["swap two columns of a matrix", "invert a matrix", "sort the list", "find a row of the matrix", "join and split", "read read numbers"]


def test_scores_of_given_passages_are_those_of_a_search():
    index = Bm25Index.build(DOCUMENTS, "words")
    for query in ("a matrix", "read the matrix read", "unseen words", ""):
        rows, found = index.search([query], len(DOCUMENTS))
        expected = np.zeros(len(DOCUMENTS), np.float32)
        expected[rows[0][rows[0] >= 0]] = found[0][rows[0] >= 0]
        scores, best = index.score(query, np.array([5, 3, 0, 1, 2, 4, 3]))
        np.testing.assert_allclose(scores, expected[[5, 3, 0, 1, 2, 4, 3]], rtol=1e-6)
        assert best == pytest.approx(expected.max())


def test_hints_are_percents_of_the_best_passage():
    index = Bm25Index.build(DOCUMENTS, "words")
    hints = LexicalHints(index, ["a matrix", "unseen", "read"])(np.array([0, 0, 0, 2, 2, 1, 0]), np.array([1, 0, 4, 5, 0, 1, 3]))
    scores = index.score("a matrix", np.arange(6))[0].astype(float)
    assert hints.tolist() == [100, round(100 * scores[0] / scores[1]), 0, 100, 0, 0, round(100 * scores[3] / scores[1])]
    assert scores.argmax() == 1


def test_a_hint_stands_before_the_passage(word_tokenizer):
    queries, titles, texts = ["swap a row", "sort", "find"], ["row", "", "matrix"], ["swap two columns " * 6, "sort", "find a list"]
    for length in (8, 13, 60):
        joiner = PairJoiner(word_tokenizer, length)
        ours = joiner.join(joiner.queries(queries), joiner.passages(titles, texts), np.array([57, 0, 100]))
        theirs = pair_tokens(word_tokenizer, queries, ["", "", ""], ["57 row: " + texts[0], "0 sort", "100 matrix: find a list"], length)
        assert all(np.array_equal(getattr(ours, name), getattr(theirs, name)) for name in ("ids", "offsets", "second"))
