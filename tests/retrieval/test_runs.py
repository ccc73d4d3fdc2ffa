"""Runs: order, precision, streaming and what is refused."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlm.corpus.store import CorpusStore, write_corpus
from simlm.errors import UserError
from simlm.runs import lists, runs
from simlm.runs.runs import Ranking, best_first, read_run, read_train_run, read_trec_run, train_run_metadata, write_train_run, write_trec_run


@pytest.fixture
def store(tmp_path_factory) -> CorpusStore:
    folder = tmp_path_factory.mktemp("store") / "corpus"
    passages = ((f"d{i}", "", f"text {i}") for i in range(2000))
    write_corpus(folder, passages, {"test": ([("q0", "which text?")], [("q0", "d1", 1)])}, {"source": "mine"})
    return CorpusStore(folder)


def rankings(count: int, depth: int, dtype=np.float32) -> list[Ranking]:
    random = np.random.default_rng(0)
    return [Ranking(f"q{i}", random.permutation(2000)[:depth].astype(np.int32), random.normal(size=depth).astype(dtype)) for i in range(count)]


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0.0, 1.0, 1.5, -2.0])), unique_by=lambda pair: pair[0], max_size=20), st.integers(0, 25))
def test_best_first_is_sorting_by_score_then_row(pairs, k):
    passages, scores = best_first(np.array([p for p, _ in pairs], dtype=np.int32), np.array([s for _, s in pairs]), k)
    assert list(zip(passages.tolist(), scores.tolist())) == sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:k]


def test_not_a_number_is_refused():
    with pytest.raises(UserError, match="not a number"):
        best_first(np.array([1]), np.array([np.nan]))


def test_train_run_comes_back_ordered_cut_and_with_its_facts(tmp_path, monkeypatch):
    monkeypatch.setattr(lists, "ROW_GROUP", 3)
    given = [*rankings(7, 20), Ranking("nothing", np.array([], np.int32), np.array([], np.float32))]
    assert write_train_run(tmp_path / "train.parquet", iter(given), system="bm25", depth=5, corpus_sha256="abc") == 8
    back = list(read_train_run(tmp_path / "train.parquet"))
    assert [ranking.query_id for ranking in back] == [ranking.query_id for ranking in given]
    for before, after in zip(given, back):
        passages, scores = best_first(before.passages, before.scores, 5)
        np.testing.assert_array_equal(after.passages, passages)
        np.testing.assert_array_equal(after.scores, scores)
        assert (after.passages.dtype, after.scores.dtype) == (np.int32, np.float32)
    assert pq.ParquetFile(tmp_path / "train.parquet").num_row_groups == 3
    assert train_run_metadata(tmp_path / "train.parquet") == {"system": "bm25", "depth": 5, "corpus_sha256": "abc"}


def test_train_run_breaks_ties_that_float32_makes(tmp_path):
    close = np.array([1.0, 1.0 + 1e-12])
    write_train_run(tmp_path / "r.parquet", [Ranking("q", np.array([3, 8]), close)], system="s", depth=2, corpus_sha256="")
    assert next(read_train_run(tmp_path / "r.parquet")).passages.tolist() == [3, 8]


def test_same_run_same_bytes(tmp_path, store):
    for name in "ab":
        write_train_run(tmp_path / f"{name}.parquet", rankings(5, 9), system="s", depth=9, corpus_sha256="x")
        write_trec_run(tmp_path / f"{name}.trec", rankings(5, 9), store, tag="s")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert (tmp_path / "a.trec").read_bytes() == (tmp_path / "b.trec").read_bytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("small", [True, False])
def test_trec_run_keeps_every_bit(tmp_path, store, monkeypatch, dtype, small):
    monkeypatch.setattr(runs, "SMALL_CORPUS", 10**6 if small else 0)
    given = rankings(70, 30, dtype)
    assert write_trec_run(tmp_path / "test.trec", iter(given), store, tag="mine") == 70
    for before, after in zip(given, read_run(tmp_path / "test.trec", store, queries_at_once=16), strict=True):
        passages, scores = best_first(before.passages, before.scores)
        assert before.query_id == after.query_id
        np.testing.assert_array_equal(after.passages, passages)
        np.testing.assert_array_equal(after.scores.astype(dtype), scores)
    first = (tmp_path / "test.trec").read_text().splitlines()[0].split(" ")
    assert [first[0], first[1], first[3], first[5]] == ["q0", "Q0", "1", "mine"]


def test_reader_keeps_the_lines_order_and_does_not_read_ahead(tmp_path):
    file = tmp_path / "x.trec"
    file.write_text("a Q0 d2 1 3.5 t\na\tQ0\td1\t2\t3.5\tt\nb Q0 d1 1 1e-3 t\nbroken line\n")
    stream = read_trec_run(file)
    ranking = next(stream)
    assert (ranking.query_id, ranking.ids, ranking.scores.tolist()) == ("a", ["d2", "d1"], [3.5, 3.5])
    with pytest.raises(UserError, match=r"x\.trec:4 is not a line of a TREC run"):
        list(stream)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a Q0 d 1 0.5 t\na Q0 e 2 0.4", r":2 is not a line"),
        ("a Q0 d 1 0.5 t\na Q0 e 2", r":2 is not a line"),
        ("a Q0 d 1 0.5 t\nb Q0 d 1 0.5 t\na Q0 e 2 0.4 t\n", r":3: the lines of query 'a' are not together"),
        ("a Q0 d 1 0.5 t\na Q0 d 2 0.4 t\n", r":2: passage 'd' is listed twice for query 'a'"),
        ("a Q0 d 1 nan t\n", r":1: the score is not a number"),
        ("a Q0 d 1 high t\n", r":1 is not a line"),
        ("a Q0 d 1 1.0 t\n\n", r":2 is not a line"),
        ("a Q0 d 1 1.0 t u\na Q0 d 1 1.0\n", r":1 is not a line"),
        ("\n", r":1 is not a line"),
    ],
)
def test_bad_trec_runs_are_refused(tmp_path, text, sentence):
    (tmp_path / "x.trec").write_text(text)
    with pytest.raises(UserError, match=sentence):
        list(read_trec_run(tmp_path / "x.trec"))


def test_missing_runs(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        list(read_trec_run(tmp_path / "x.trec"))
    with pytest.raises(UserError, match="does not exist"):
        list(read_train_run(tmp_path / "x.parquet"))


def test_truncated_and_foreign_parquet_runs_are_refused(tmp_path):
    file = tmp_path / "train.parquet"
    write_train_run(file, rankings(50, 20), system="s", depth=20, corpus_sha256="")
    content = file.read_bytes()
    for size in (0, 3, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:size])
        with pytest.raises(UserError, match="truncated or not Parquet"):
            list(read_train_run(file))
    file.write_bytes(content[:200] + bytes(200) + content[400:])
    with pytest.raises(UserError, match="truncated or not Parquet"):
        list(read_train_run(file))
    import pyarrow as pa

    pq.write_table(pa.table({"query": ["a"]}), file)
    with pytest.raises(UserError, match=r"is not a run of the training split: its columns are query \(string\)"):
        list(read_train_run(file))


def test_query_id_with_a_space_leaves_no_file(tmp_path, store):
    with pytest.raises(UserError, match="white space"):
        write_trec_run(tmp_path / "x.trec", [Ranking("a b", np.array([1]), np.array([1.0]))], store, tag="t")
    assert list(tmp_path.iterdir()) == []
