"""What the writer refuses, leaves out, and chooses."""

from __future__ import annotations

import os

import pytest

from simlm.corpus.choice import hash64
from simlm.corpus.counts import Expected
from simlm.corpus.records import Records
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.errors import UserError

PASSAGES = [("a", "", "one"), ("b", "", "two"), ("c", "", "three")]
QUERIES = [("q", "which")]
QRELS = [("q", "a", 1)]


def write(folder, passages=PASSAGES, queries=QUERIES, qrels=QRELS, **options):
    return write_corpus(folder / "corpus", passages, {"test": (queries, qrels)}, {}, **options)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"passages": [*PASSAGES, ("b", "", "again")]}, "passage 4: the passage id 'b' was used before, at passage 2"),
        ({"passages": [("a b", "", "x")]}, "passage 1: the passage id 'a b' holds white space"),
        ({"passages": [("a", "", "x"), ("", "", "x")]}, "passage 2: the id of the passage is empty"),
        ({"passages": [(None, "", "x")]}, "passage 1: the id of a passage must be a string or a whole number, not null"),
        ({"passages": [(1.5, "", "x")]}, "not float"),
        ({"passages": [(True, "", "x")]}, "not bool"),
        ({"passages": [("a", "", None)]}, "passage 1: the text must be a string, not null"),
        ({"passages": [("a", ["x"], "x")]}, "passage 1: the title must be a string, not list"),
        ({"passages": [("a", "", "half \ud800 pair")]}, "not valid Unicode"),
        ({"passages": []}, "no passages"),
        ({"qrels": [("q", "z", 1)]}, r"none of the 1 passages that are judged for the split test, such as 'z' \(judgement of split test 1\)"),
        ({"qrels": [("q9", "a", 1)]}, "the split test has no queries"),
        ({"qrels": [("q", "a", 0.5)]}, "judgement of split test 1 is not a judgement: the grade must be a whole number, not 0.5"),
        ({"qrels": [("q", "a", "high")]}, "the grade must be a whole number, not 'high'"),
        ({"qrels": []}, "the split test has no judgements"),
        ({"queries": []}, "the split test has no queries"),
        ({"queries": [("q", " \n ")]}, "query of split test 1: the query 'q' is empty"),
        ({"queries": [("q", None)]}, "the text of a query must be a string, not null"),
        ({"queries": [*QUERIES, *QUERIES]}, "the query id 'q' was used before"),
        ({"max_queries": {"tset": 1}}, r"no split 'tset'; did you mean 'test'\?"),
        ({"cut": ("tset", {"x": 1.0})}, r"no split 'tset'; did you mean 'test'\?"),
        ({"expected": Expected(passages=4)}, "the source has 3 passages, but 4 are expected"),
        ({"expected": Expected(queries={"test": 2})}, "the split test has 1 judged queries, but 2 are expected"),
        ({"expected": Expected(passages=2), "max_passages": 2}, "the source has 3 passages, but 2 are expected"),
    ],
)
def test_refusals_leave_nothing_behind(tmp_path, change, sentence):
    with pytest.raises(UserError, match=sentence):
        write(tmp_path, **change)
    assert os.listdir(tmp_path) == []


def test_a_refusal_keeps_the_older_store(tmp_path):
    write(tmp_path)
    with pytest.raises(UserError):
        write(tmp_path, qrels=[("q", "z", 1)])
    assert len(CorpusStore(tmp_path / "corpus")) == 3


def test_a_split_name_must_be_a_file_name(tmp_path):
    with pytest.raises(UserError, match="becomes a file name"):
        write_corpus(tmp_path / "corpus", PASSAGES, {"../up": (QUERIES, QRELS)}, {})


def test_whole_numbers_serve_as_ids(tmp_path):
    write(tmp_path, passages=[(1, "", "x"), (2, "", "y")], queries=[(7, "which")], qrels=[("7", "2", 1)])
    assert CorpusStore(tmp_path / "corpus").positives("test") == {"7": [1]}


def test_repeated_judgements_are_counted_and_the_higher_grade_stays(tmp_path):
    manifest = write(tmp_path, qrels=[("q", "a", 1), ("q", "a", 1), ("q", "b", 2), ("q", "b", 0)])
    assert manifest["splits"]["test"]["dropped"] == {"repeated_judgements": 1, "contradictory_judgements": 1}
    assert CorpusStore(tmp_path / "corpus").qrels("test") == {"q": {"a": 1, "b": 2}}


def many(count):
    passages = [(f"p{n}", "", f"text {n}") for n in range(count)]
    queries = [(f"q{n}", f"query {n}") for n in range(count // 4)]
    return passages, queries, [(f"q{n}", f"p{n}", 1) for n in range(count // 4)] + [(f"q{n}", f"p{n + 500}", 0) for n in range(10)]


def test_the_partition_is_a_function_of_the_query_id(tmp_path):
    passages, queries, qrels = many(1000)
    parts = {"train": 0.8, "dev": 0.1, "test": 0.1}
    write(tmp_path, passages, queries, qrels, cut=("test", parts))
    whole = CorpusStore(tmp_path / "corpus")
    found = {part: set(whole.queries(part)) for part in parts}
    assert sum(map(len, found.values())) == 250 == len(set().union(*found.values()))
    assert 180 <= len(found["train"]) <= 220
    some = queries[:100]
    write_corpus(tmp_path / "some", passages, {"all": (some, [row for row in qrels if int(row[0][1:]) < 100])}, {}, cut=("all", parts))
    part = CorpusStore(tmp_path / "some")
    assert all(set(part.queries(name)) <= found[name] for name in parts)


def test_limits_choose_by_hash_and_keep_judged_passages(tmp_path):
    passages, queries, qrels = many(1000)
    manifest = write(tmp_path, passages, queries, qrels, max_queries={"test": 40}, max_passages=60)
    store = CorpusStore(tmp_path / "corpus")
    kept = list(store.queries("test"))
    assert set(kept) == set(sorted((query for query, _ in queries), key=lambda query: hash64(query, "queries"))[:40])
    assert kept == sorted(kept, key=lambda query: int(query[1:])), "the order of the source stays"
    assert len(store) == 60
    assert len(store.positives("test")) == 40
    assert manifest["splits"]["test"]["dropped"]["queries_over_max"] == 210
    assert manifest["dropped"]["passages_over_max"] == 940
    again = write_corpus(tmp_path / "again", passages[::-1], {"test": (queries, qrels)}, {}, max_queries={"test": 40}, max_passages=60)
    assert set(CorpusStore(tmp_path / "again").ids(range(60))) == set(store.ids(range(60))), again


def test_queries_that_lose_their_passage_are_dropped_and_counted(tmp_path):
    passages, queries, qrels = many(1000)
    manifest = write(tmp_path, passages, queries, qrels, max_passages=100)
    store = CorpusStore(tmp_path / "corpus")
    assert len(store) == 100 == len(store.positives("test")) == len(store.queries("test"))
    assert manifest["splits"]["test"]["dropped"]["queries_without_kept_passage"] == 150
    kept = next(iter(store.queries("test")))
    again = write(tmp_path, passages, queries, [*qrels, (kept, "zz", 1)], max_passages=100)
    assert CorpusStore(tmp_path / "corpus").qrels("test")[kept]["zz"] == 1 == again["splits"]["test"]["judgements_of_absent_passages"]


def test_records_name_files_in_messages(tmp_path):
    records = Records(lambda: iter([("a", "", "x"), ("a", "", "y")]), lambda n: f"my.jsonl:{n}")
    with pytest.raises(UserError, match=r"my.jsonl:2: the passage id 'a' was used before, at my.jsonl:1"):
        write(tmp_path, passages=records)


def test_passages_of_limited_splits_come_first(tmp_path):
    passages, queries, qrels = many(1000)
    cut = ("test", {"train": 0.8, "dev": 0.2})
    write(tmp_path, passages, queries, qrels, cut=cut, max_queries={"dev": 30}, max_passages=100)
    store = CorpusStore(tmp_path / "corpus")
    assert (len(store), len(store.queries("dev")), len(store.queries("train"))) == (100, 30, 70)


def test_right_counts_are_kept_in_the_manifest(tmp_path):
    manifest = write(tmp_path, expected=Expected(3, {"test": 1}), max_passages=2)
    assert manifest["expected"] == {"passages": 3, "queries": {"test": 1}}
    assert manifest["passages"]["count"] == 2
