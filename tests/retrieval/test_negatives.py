"""Hard negatives: positives never among them, padding, seeds, drops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlm.config.experiment import Negatives
from simlm.errors import UserError
from simlm.runs.negatives import (
    MinedQuery,
    MiningCounts,
    close_to_positive,
    mine_negatives,
    negatives_metadata,
    read_negatives,
    sample_negatives,
    write_negatives,
)
from simlm.runs.runs import Ranking


def ranking(rows, query_id: str = "q") -> Ranking:
    return Ranking(query_id, np.array(rows, dtype=np.int32), -np.arange(len(rows), dtype=np.float32))


@given(st.data())
@settings(max_examples=200)
def test_what_holds_for_every_query(data):
    size = data.draw(st.one_of(st.integers(1, 40), st.integers(100, 3000)))
    row = st.integers(0, size - 1)
    run = data.draw(st.lists(row, unique=True, max_size=30))
    positives = np.array(sorted(data.draw(st.sets(row, min_size=1, max_size=8))), dtype=np.int32)
    chosen = Negatives(depth=data.draw(st.integers(1, 35)), sample=data.draw(st.integers(1, 35)), pad_to=data.draw(st.integers(0, 60)))
    seed = data.draw(st.integers(0, 2**32))
    mined, others = sample_negatives(ranking(run), positives, size, chosen, seed)
    candidates = [one for one in run[: chosen.depth] if one not in positives]
    assert len(mined) == min(chosen.sample, len(candidates))
    assert set(mined.tolist()) <= set(candidates)
    free = set(range(size)) - set(run) - set(positives.tolist())
    assert set(others.tolist()) <= free
    assert len(others) == min(max(0, chosen.pad_to - len(mined)), len(free))
    together = mined.tolist() + others.tolist()
    assert len(set(together)) == len(together)
    assert not set(together) & set(positives.tolist())
    again = sample_negatives(ranking(run), positives, size, chosen, seed)
    assert together == again[0].tolist() + again[1].tolist()


def test_depends_on_seed_and_query_and_nothing_else():
    chosen, rows, positives = Negatives(depth=50, sample=20, pad_to=30), range(50), {f"q{i}": [i] for i in range(9)}
    run = [ranking(rows, f"q{i}") for i in range(9)]

    def mine(run, seed):
        return {query.query_id: query.negatives.tolist() for query in mine_negatives(run, positives, 5000, chosen, seed, MiningCounts())}

    whole = mine(run, 1)
    assert mine(run[::-1], 1) == whole
    assert mine(run[4:5], 1) == {"q4": whole["q4"]}
    assert mine(run, 2) != whole
    assert whole["q0"] != whole["q1"]


def test_random_negatives_stand_last_or_anywhere():
    run, positives = [ranking(range(50), f"q{i}") for i in range(60)], {f"q{i}": [i] for i in range(60)}
    orders = {}
    for padding in ("last", "mixed"):
        chosen = Negatives(depth=50, sample=20, pad_to=30, padding=padding)
        orders[padding] = [query.negatives for query in mine_negatives(run, positives, 5000, chosen, 1, MiningCounts())]
    assert all(set(last.tolist()) == set(mixed.tolist()) for last, mixed in zip(*orders.values()))
    places = {padding: np.mean([np.flatnonzero(order >= 50).mean() for order in found]) for padding, found in orders.items()}
    assert places["last"] == 24.5
    assert abs(places["mixed"] - 14.5) < 1.5  # standard error 0.3


def test_every_candidate_and_every_free_row_is_drawn_equally_often():
    chosen = Negatives(depth=8, sample=2, pad_to=4)
    mined, others = np.zeros(40), np.zeros(40)
    for i in range(6000):
        first, second = sample_negatives(ranking(range(10), str(i)), np.array([3]), 40, chosen, 0)
        mined[first] += 1
        others[second] += 1
    assert np.flatnonzero(mined).tolist() == [0, 1, 2, 4, 5, 6, 7]
    np.testing.assert_allclose(mined[[0, 1, 2, 4, 5, 6, 7]], 12000 / 7, rtol=0.1)
    assert np.flatnonzero(others).tolist() == list(range(10, 40))
    np.testing.assert_allclose(others[10:], 12000 / 30, rtol=0.25)


def test_random_rows_of_a_big_corpus_reach_its_ends():
    drawn = np.concatenate([sample_negatives(ranking([5], str(i)), np.array([7]), 2**31 - 1, Negatives(pad_to=50), 0)[1] for i in range(100)])
    assert drawn.dtype == np.int32
    assert drawn.min() < 2**31 * 0.01
    assert drawn.max() > 2**31 * 0.99


def test_dropped_queries_are_counted_and_noted(tmp_path):
    counts = MiningCounts()
    run = [ranking(range(5), "good"), ranking(range(5), "without positive"), ranking([], "empty")]
    positives = {"good": [1, 99], "empty": [2], "absent": [3]}
    mined = mine_negatives(run, positives, 100, Negatives(depth=5, sample=5, pad_to=6), 3, counts)
    write_negatives(tmp_path / "n.parquet", mined, {"source": "bm25", "seed": 3}, counts)
    # One of the four positives of all training queries is in the run, whatever was trained on.
    (caution,) = counts.cautions("bm25", Negatives(depth=5, sample=5, pad_to=6))
    assert caution == "bm25 finds nothing for 2 of 3 training queries, so that only 1 are trained on"
    (query,) = read_negatives(tmp_path / "n.parquet")
    assert query.query_id == "good"
    assert query.positives.tolist() == [1, 99]
    assert sorted(query.negatives.tolist()[:4]) == [0, 2, 3, 4]
    facts = negatives_metadata(tmp_path / "n.parquet")
    assert facts == {
        "source": "bm25",
        "seed": 3,
        "counts": {
            "queries": 1,
            "no_positive": 1,
            "no_run_entry": 2,
            "mined": 4,
            "random": 2,
            "fewer": 0,
            "fewest": 6,
            "with_answer": 0,
            "positives": 4,
            "positives_found": 1,
            "compared": 4,
            "close": 1,  # row 0, before the positive
            "dropped_close": 0,
        },
    }


def test_files_are_the_same_bytes_and_come_back_whole(tmp_path, monkeypatch):
    from simlm.runs import lists

    monkeypatch.setattr(lists, "ROW_GROUP", 7)
    queries = [MinedQuery(f"q{i}", np.array([i], np.int32), np.arange(i, dtype=np.int32)) for i in range(20)]
    for name in "ab":
        write_negatives(tmp_path / name, iter(queries), {}, MiningCounts(queries=20))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    back = list(read_negatives(tmp_path / "a"))
    assert [(one.query_id, one.positives.tolist(), one.negatives.tolist()) for one in back] == [
        (one.query_id, one.positives.tolist(), one.negatives.tolist()) for one in queries
    ]


def test_nothing_left_is_refused_and_leaves_no_file(tmp_path):
    counts = MiningCounts()
    with pytest.raises(UserError, match="no training query is left"):
        write_negatives(tmp_path / "n.parquet", mine_negatives([ranking([1])], {}, 10, Negatives(), 0, counts), {}, counts)
    assert list(tmp_path.iterdir()) == []


def test_rows_beyond_the_corpus_are_refused():
    with pytest.raises(UserError, match="names row 10, but the corpus has 10 passages"):
        list(mine_negatives([ranking([3, 10])], {"q": [3]}, 10, Negatives(), 0, MiningCounts()))


def test_truncated_and_foreign_files_are_refused(tmp_path):
    file = tmp_path / "n.parquet"
    write_negatives(file, [MinedQuery("q", np.array([1]), np.arange(1000))], {}, MiningCounts(queries=1))
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"truncated or not Parquet .* run simlm mine-negatives again"):
        list(read_negatives(file))
    with pytest.raises(UserError, match="run simlm mine-negatives first"):
        list(read_negatives(tmp_path / "none.parquet"))


def test_the_query_itself_is_neither_mined_nor_drawn():
    """Of seven passages, one positive and the query itself: exactly the five others remain, whatever the seed."""
    for seed in range(20):
        mined, drawn = sample_negatives(ranking([3, 0, 1, 2], "q"), np.array([0]), 7, Negatives(depth=4, sample=4, pad_to=9), seed, own=3)
        assert sorted(mined.tolist()) == [1, 2]
        assert sorted(drawn.tolist()) == [4, 5, 6]


def test_lists_that_stay_short_are_counted():
    counts = MiningCounts()
    list(mine_negatives([ranking(range(5), "q")], {"q": [1]}, 6, Negatives(depth=5, sample=5, pad_to=9), 3, counts))
    assert (counts.fewer, counts.fewest) == (1, 5)
    (caution,) = counts.cautions("bm25", Negatives(depth=5, sample=5, pad_to=9))
    assert caution == "1 of 1 queries have fewer than 9 negatives, 5 at least"


@given(
    st.lists(st.floats(-50, 50, allow_nan=False, width=32), min_size=2, max_size=20),
    st.floats(0.5, 1.0),
    st.sets(st.integers(0, 25), min_size=1, max_size=4),
)
def test_what_is_close_to_a_positive_by_its_definition(scores, share, positives):
    """A positive score is multiplied by the share; of a negative one, as much is taken away as a share of it would be, so that it is lower as well."""
    scores = sorted(scores, reverse=True)
    judge = Ranking("q", np.arange(len(scores), dtype=np.int32), np.array(scores, np.float32))
    found = close_to_positive(judge, np.array(sorted(positives)), share)
    right = [scores[row] for row in positives if row < len(scores)]
    if not right:
        assert found is None
        return
    best = max(right)
    bound = best * share if best >= 0 else best * (2 - share)
    for row, score in enumerate(scores):
        if row in positives or abs(score - bound) < 1e-6 * (1 + abs(bound)):
            continue
        assert (row in found.tolist()) == (score >= bound)


def test_close_ones_are_left_out_and_counted():
    scores = np.array([1.0, 0.98, 0.96, 0.94, 0.5], np.float32)
    run = [Ranking("q", np.arange(5, dtype=np.int32), scores), Ranking("lost", np.array([0, 1], np.int32), np.array([3.0, 2.0], np.float32))]
    positives = {"q": [1], "lost": [9]}
    kept, counts = Negatives(depth=5, sample=5, pad_to=5), MiningCounts()
    assert next(sorted(query.negatives.tolist())[:4] for query in mine_negatives(run, positives, 10, kept, 1, counts)) == [0, 2, 3, 4]
    # 0.95 * 0.98 = 0.931: rows 0, 2 and 3 of the four candidates; the query whose positive the run lacks says nothing.
    assert (counts.compared, counts.close, counts.dropped_close, counts.false_negatives) == (4, 3, 0, 0.75)
    dropping, counts = Negatives(depth=5, sample=5, pad_to=0, drop_above=0.97), MiningCounts()
    mined = {query.query_id: query.negatives.tolist() for query in mine_negatives(run, positives, 10, dropping, 1, counts)}
    assert sorted(mined["q"]) == [3, 4]  # 0.97 * 0.98 = 0.9506
    assert sorted(mined["lost"]) == [0, 1]
    assert (counts.dropped_close, counts.close) == (2, 3)


def test_another_system_may_tell_which_are_close():
    """The scores of a fusion are ranks; a part of it that embeds knows better."""
    run = [Ranking("q", np.array([4, 1, 2], np.int32), np.array([3.0, 2.0, 1.0], np.float32))]
    judge = {"q": Ranking("q", np.array([1, 2, 7], np.int32), np.array([0.9, 0.89, 0.1], np.float32))}
    counts = MiningCounts()
    (query,) = mine_negatives(run, {"q": [1]}, 10, Negatives(depth=3, sample=3, pad_to=0, drop_above=0.95), 1, counts, judges=judge)
    assert query.negatives.tolist() == [4]
    assert (counts.compared, counts.dropped_close) == (2, 1)
