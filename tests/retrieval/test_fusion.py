"""Reciprocal rank fusion against its formula in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlm.corpus.store import CorpusStore, write_corpus
from simlm.errors import UserError
from simlm.retrieval.fusion import fuse_rankings, fuse_runs, fuse_scores, fusing
from simlm.runs.runs import read_run

rows = st.lists(st.integers(0, 12), unique=True, max_size=10)


@given(st.lists(rows, min_size=1, max_size=4), st.integers(0, 60), st.one_of(st.none(), st.integers(0, 8)))
def test_formula_and_order(rankings, k, depth):
    exact: dict[int, Fraction] = {}
    for ranking in rankings:
        for rank, row in enumerate(ranking, 1):
            exact[row] = exact.get(row, Fraction(0)) + Fraction(1, k + rank)
    found, scores = fuse_rankings([np.array(ranking, dtype=np.int32) for ranking in rankings], k, depth)
    expected = sorted(exact, key=lambda row: (-exact[row], row))[:depth]
    # Two different sums may be the same float; then the smaller row is first there too.
    assert [float(exact[row]) for row in found.tolist()] == pytest.approx([float(exact[row]) for row in expected], rel=1e-15)
    np.testing.assert_allclose(scores, [float(exact[row]) for row in found.tolist()], rtol=1e-15)
    assert list(zip((-scores).tolist(), found.tolist())) == sorted(zip((-scores).tolist(), found.tolist()))


def test_order_of_the_systems_does_not_matter():
    random = np.random.default_rng(0)
    rankings = [random.permutation(50)[:30].astype(np.int32) for _ in range(5)]
    first, second = fuse_rankings(rankings), fuse_rankings(rankings[::-1])
    assert first[0].tolist() == second[0].tolist()
    assert first[1].tolist() == second[1].tolist()


@pytest.fixture
def store(tmp_path) -> CorpusStore:
    write_corpus(
        tmp_path / "corpus",
        [(name, "", f"text {name}") for name in "abcd"],
        {"test": ([("1", "x"), ("2", "y"), ("3", "z")], [("1", "a", 1), ("2", "a", 1), ("3", "b", 1)])},
        {"source": "mine"},
    )
    return CorpusStore(tmp_path / "corpus")


def test_runs_with_other_orders_and_missing_queries(tmp_path, store):
    (tmp_path / "one.trec").write_text("1 Q0 a 1 9.0 t\n1 Q0 b 2 8.0 t\n3 Q0 c 1 1.0 t\n")
    (tmp_path / "two.trec").write_text("3 Q0 d 1 0.5 t\n1 Q0 b 1 0.9 t\n")
    fused = {
        query_id: (passages.tolist(), scores.tolist())
        for query_id, passages, scores in fuse_runs(
            [read_run(tmp_path / f"{name}.trec", store) for name in ("one", "two")], ["1", "2", "3"], fusing("ranks", 1, None, None)
        )
    }
    assert fused == {"1": ([1, 0], [1 / 2 + 1 / 3, 1 / 2]), "3": ([2, 3], [1 / 2, 1 / 2])}


def test_truncated_end_is_noticed_though_its_query_is_not_asked_for(tmp_path, store):
    (tmp_path / "one.trec").write_text("1 Q0 a 1 9.0 t\n2 Q0 b 1 8.0")
    with pytest.raises(UserError, match=r"one\.trec:2"):
        list(fuse_runs([read_run(tmp_path / "one.trec", store)], ["1"], fusing("ranks", 60, None, None)))


def test_scores_are_standardised_over_the_first_hundred_and_what_a_list_lacks_is_its_lowest():
    random = np.random.default_rng(3)
    lists = [(random.permutation(400)[:n].astype(np.int32), np.sort(random.normal(m, s, n))[::-1]) for n, m, s in ((150, 20, 5), (40, 0.6, 0.1), (30, 3, 1))]
    weights = [0.5, 0.3, 0.0]
    expected = {}
    for row in {row for rows, _ in lists[:2] for row in rows.tolist()}:
        total = 0.0
        for (rows, scores), weight in zip(lists[:2], weights):
            first = scores[:100]
            mean = sum(first) / len(first)
            spread = (sum((score - mean) ** 2 for score in first) / len(first)) ** 0.5
            own = scores[rows.tolist().index(row)] if row in rows else min(scores)
            total += weight * (own - mean) / spread
        expected[row] = total
    rows, scores = fuse_scores(lists, 60, weights)
    assert rows.tolist() == sorted(expected, key=lambda row: -expected[row])[:60]
    np.testing.assert_allclose(scores, [expected[row] for row in rows.tolist()], rtol=1e-12)


def test_a_list_of_one_passage_of_equal_scores_or_of_nothing_is_no_trouble():
    nothing = (np.zeros(0, np.int32), np.zeros(0))
    assert [part.tolist() for part in fuse_scores([nothing, nothing])] == [[], []]
    rows, scores = fuse_scores([nothing, (np.array([7]), np.array([3.0])), (np.array([7, 2]), np.array([1.0, 1.0]))])
    assert (rows.tolist(), scores.tolist()) == ([2, 7], [0.0, 0.0])


def test_a_weight_of_all_keeps_the_order_of_the_one_list():
    random = np.random.default_rng(0)
    rows, scores = random.permutation(50).astype(np.int32), np.sort(random.normal(size=50))[::-1]
    found, _ = fuse_scores([(rows, scores), (random.permutation(50).astype(np.int32), scores)], weights=[1.0, 0.0])
    assert found.tolist() == rows.tolist()


def test_a_sure_list_is_not_moved_by_one_that_guesses():
    sure, guess = (np.array([1, 2, 3]), np.array([30.0, 5.0, 4.0])), (np.array([3, 2, 1]), np.array([0.502, 0.501, 0.5]))
    assert fuse_scores([sure, (guess[0], np.array([0.502, 0.5, 0.501]))])[0][0] == 1
    assert fusing("ranks", 60, None, [0.4, 0.6])([sure, guess])[0][0] == 3
