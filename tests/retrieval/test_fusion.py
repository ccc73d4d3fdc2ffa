"""Reciprocal rank fusion against its formula in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlm.corpus.store import CorpusStore, write_corpus
from simlm.errors import UserError
from simlm.retrieval.fusion import fuse_rankings, fuse_runs
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
        for query_id, passages, scores in fuse_runs([read_run(tmp_path / f"{name}.trec", store) for name in ("one", "two")], ["1", "2", "3"], k=1)
    }
    assert fused == {"1": ([1, 0], [1 / 2 + 1 / 3, 1 / 2]), "3": ([2, 3], [1 / 2, 1 / 2])}


def test_truncated_end_is_noticed_though_its_query_is_not_asked_for(tmp_path, store):
    (tmp_path / "one.trec").write_text("1 Q0 a 1 9.0 t\n2 Q0 b 1 8.0")
    with pytest.raises(UserError, match=r"one\.trec:2"):
        list(fuse_runs([read_run(tmp_path / "one.trec", store)], ["1"]))
