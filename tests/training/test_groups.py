"""Which passages an epoch sees: hand-computed cases and invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlm.corpus.store import CorpusStore, write_corpus
from simlm.errors import UserError
from simlm.runs.negatives import MinedQuery, MiningCounts, write_negatives
from simlm.training.groups import groups_without_negatives, query_key, read_groups, visits
from simlm.training.schedule import Schedule
from simlm.training.teacher import visited_passages, visits_per_query
from simlm.training.teacher_scores import TeacherScores, write_teacher_scores


def test_offset_is_the_same_window_for_every_query():
    """offset = epoch + seed; positive offset mod n; negatives from offset * n on, modulo the list."""
    negatives = list(range(100, 110))
    for query in ("a", "b"):
        positive, seen = visits(3, 2, query, [7, 8, 9], negatives, 4, "offset")
        assert positive == 9  # (2 + 3) mod 3 = 2
        assert seen.tolist() == [100, 101, 102, 103]  # 5 * 4 = 20 mod 10 = 0
    assert visits(3, 3, "a", [7, 8, 9], negatives, 4, "offset")[1].tolist() == [104, 105, 106, 107]
    assert visits(3, 4, "a", [7, 8, 9], negatives, 4, "offset")[1].tolist() == [108, 109, 100, 101]


def test_shuffled_differs_between_queries_and_seeds_but_not_between_calls():
    negatives = list(range(50))
    one = visits(1, 0, "a", [7], negatives, 10)[1].tolist()
    assert one == visits(1, 0, "a", [7], negatives, 10)[1].tolist()
    assert one != visits(1, 0, "b", [7], negatives, 10)[1].tolist()
    assert one != visits(2, 0, "a", [7], negatives, 10)[1].tolist()


@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 12), st.sampled_from(["shuffled", "offset"]))
def test_every_listed_passage_is_seen_before_any_is_seen_again(positives, negatives, n, rotation):
    own, others = np.arange(positives), np.arange(100, 100 + negatives)
    walk = [visits(5, epoch, "q", own, others, n, rotation) for epoch in range(200)]
    assert {positive for positive, _ in walk[:positives]} == set(own.tolist())
    seen = np.concatenate([part for _, part in walk])
    if rotation == "shuffled":
        assert sorted(seen[:negatives].tolist()) == others.tolist()
    assert len(np.intersect1d(seen, own)) == 0
    assert all(len(part) == n for _, part in walk)


@pytest.fixture
def store(tmp_path):
    passages = [(f"p{i}", "", f"text {i}") for i in range(60)]
    queries, qrels = [(f"q{i}", f"query {i}") for i in range(30)], [(f"q{i}", f"p{i}", 1) for i in range(30)]
    write_corpus(tmp_path / "corpus", passages, {"train": (queries, qrels)}, {"source": "test"})
    return CorpusStore(tmp_path / "corpus")


def mined(path, store, queries, **facts):
    listed = [MinedQuery(query, np.array(own), np.array(others)) for query, own, others in queries]
    write_negatives(path, listed, {"corpus_sha256": store.sha256, **facts}, MiningCounts(queries=len(queries)))
    return path


def test_queries_that_cannot_be_trained_on_are_counted(tmp_path, store):
    path = mined(tmp_path / "bm25.parquet", store, [("q1", [1], [2, 3]), ("q2", [], [2]), ("q3", [3], [])])
    groups = read_groups(path, store, 2, tmp_path)
    assert groups.query_ids == ["q1"]
    assert groups.about["dropped_in_training"] == {"without_positive": 1, "without_negative": 1}
    assert read_groups(path, store, 0, tmp_path).query_ids == ["q1", "q3"]


def test_reading_is_the_pure_function(tmp_path, store):
    path = mined(tmp_path / "bm25.parquet", store, [(f"q{i}", [i, i + 1], list(range(40, 52))) for i in range(30)])
    groups = read_groups(path, store, 5, tmp_path)
    for query, epoch in ((0, 0), (7, 3), (29, 11)):
        positive, negatives = visits(9, epoch, f"q{query}", [query, query + 1], list(range(40, 52)), 5)
        assert groups.visit(9, epoch, query, 5, "shuffled").tolist() == [positive, *negatives]
    held_out = groups.holdout(9, 200)
    assert len(held_out) == 3
    assert set(groups.holdout(9, 2)) <= set(held_out)
    assert groups.holdout(10, 3).tolist() != held_out.tolist()


def test_without_negatives_the_judged_queries_are_the_groups(tmp_path, store):
    groups = groups_without_negatives(store, tmp_path)
    assert groups.query_ids == [f"q{i}" for i in range(30)]
    assert groups.visit(1, 4, 3, 0, "shuffled").tolist() == [3]


@pytest.mark.parametrize(
    ("queries", "facts", "sentence"),
    [
        ([("q1", [1], [2, 1])], {}, "lists one of its positives as a negative"),
        ([("q1", [1], [999])], {}, "names passages that the corpus does not have"),
        ([("q1", [1], [2])], {"corpus_sha256": "another"}, "was made from another corpus"),
        ([("q1", [], [2])], {}, "leaves no training query"),
    ],
)
def test_bad_lists_are_refused(tmp_path, store, queries, facts, sentence):
    with pytest.raises(UserError, match=sentence):
        read_groups(mined(tmp_path / "bm25.parquet", store, queries, **facts), store, 1, tmp_path)


def test_missing_and_truncated_lists_are_refused(tmp_path, store):
    with pytest.raises(UserError, match="does not exist"):
        read_groups(tmp_path / "nothing.parquet", store, 1, tmp_path)
    path = mined(tmp_path / "bm25.parquet", store, [(f"q{i}", [i], [40]) for i in range(30)])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="truncated"):
        read_groups(path, store, 1, tmp_path)


@pytest.mark.parametrize("rotation", ["shuffled", "offset"])
@pytest.mark.parametrize("items", [5, 27, 64, 100])
def test_the_teacher_scores_exactly_what_training_visits(tmp_path, store, rotation, items):
    path = mined(tmp_path / "bm25.parquet", store, [(f"q{i}", [i, i + 1], list(range(35, 55))) for i in range(30)])
    groups, seed, n = read_groups(path, store, 4, tmp_path), 3, 4
    seen = np.setdiff1d(np.arange(30), groups.holdout(seed, 3))
    order, visited = Schedule(len(seen), items, seed, lambda epoch, index: (epoch, int(seen[index]))), set()
    for item in range(items):
        epoch, query = order[item]
        visited |= {(query, row) for row in groups.visit(seed, epoch, query, n, rotation).tolist()}
    epochs = visits_per_query(30, seen, items, seed)
    rows, offsets = visited_passages(groups, epochs, n, seed, rotation, tmp_path)
    assert epochs.sum() == items
    assert [(query, row) for query in range(30) for row in rows[offsets[query] : offsets[query + 1]].tolist()] == sorted(visited)


def test_teacher_scores_are_looked_up_by_query_and_passage(tmp_path, store):
    groups = read_groups(mined(tmp_path / "bm25.parquet", store, [(f"q{i}", [i], [40, 41, 42]) for i in range(5)]), store, 1, tmp_path)
    # In another order, and with a query that training does not have.
    scored = [("q3", np.array([42, 3, 40]), np.array([0.42, 3.0, 0.4])), ("other", np.array([1]), np.array([9.0])), ("q0", np.array([0]), np.array([7.0]))]
    assert write_teacher_scores(tmp_path / "scores.parquet", scored, {}) == 5
    scores = TeacherScores.read(tmp_path / "scores.parquet", "distilled", groups, tmp_path)
    np.testing.assert_allclose(scores.of(3, np.array([3, 42, 40, 3])), [3.0, 0.42, 0.4, 3.0], rtol=1e-6)
    for query, row in ((3, 41), (3, 43), (1, 1)):
        with pytest.raises(UserError, match=rf"no score of passage {row} for query 'q{query}'; run simlm score-teacher --model distilled again"):
            scores.of(query, np.array([row]))


def test_query_keys_do_not_collide():
    assert len({query_key(str(i)) for i in range(20_000)}) == 20_000
