"""Searches that leave out long lists against sums over all of them, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from simlm.lexical import postings as module
from simlm.lexical.postings import Postings
from simlm.runs.runs import best_first

PASSAGES = 3000


@pytest.fixture(scope="module", params=["as they fall", "few different scores"])
def postings(request) -> Postings:
    """Lists of all lengths, rare terms with the higher scores; an empty one; in the second kind most sums are shared by many passages."""
    random = np.random.default_rng(3)
    shares = [*np.geomspace(0.9, 0.001, 30), 0.0, 1.0]
    lists = [np.flatnonzero(random.random(PASSAGES) < share).astype(np.int32) for share in shares]
    scores = [-np.log(max(share, 1e-3) * 0.99) * random.uniform(0.3, 1, len(rows)) for share, rows in zip(shares, lists)]
    if request.param == "few different scores":
        scores = [np.ceil(values) for values in scores]
    starts = np.cumsum([0, *map(len, lists)])
    return Postings(np.concatenate(scores).astype(np.float32), np.concatenate(lists), starts, PASSAGES)


def exhaustive(postings: Postings, terms: list[int], k: int) -> tuple[np.ndarray, np.ndarray]:
    """One sum after the other in the order of the query."""
    sums = np.zeros(PASSAGES, np.float32)
    for term in terms:
        span = slice(postings.starts[term], postings.starts[term + 1])
        np.add.at(sums, postings.rows[span], postings.scores[span])
    rows = np.flatnonzero(sums).astype(np.int32)
    return best_first(rows, sums[rows], k)


@pytest.mark.parametrize("k", [1, 10, 200, 5000])
def test_what_is_left_out_changes_no_bit(postings, monkeypatch, k):
    monkeypatch.setattr(module, "FEW", 0)
    random, space = np.random.default_rng(k), postings.space()
    for look_up in (0.01, 8):  # lists left out whenever that is right, and when it pays
        monkeypatch.setattr(module, "LOOK_UP", look_up)
        for _ in range(60):
            terms = random.choice(32, random.integers(1, 8)).tolist()
            rows, sums = postings.best(terms, k, space)
            expected_rows, expected_sums = exhaustive(postings, terms, k)
            np.testing.assert_array_equal(rows, expected_rows)
            np.testing.assert_array_equal(sums, expected_sums)
            assert not space.any()


def test_long_lists_are_left_out(postings, monkeypatch):
    monkeypatch.setattr(module, "FEW", 0)
    monkeypatch.setattr(module, "LOOK_UP", 0.01)
    added, add = [], Postings._add
    monkeypatch.setattr(Postings, "_add", lambda self, term, *rest: added.append(term) or add(self, term, *rest))
    postings.best([0, 1, 31, 20, 22], 10, postings.space())
    assert sorted(added) == [20, 22]


def test_no_terms_find_nothing(postings):
    for terms in ([], [30]):
        rows, sums = postings.best(terms, 10, postings.space())
        assert len(rows) == len(sums) == 0
