"""The corpus store against plain Python lists, `datasets`, and damaged files."""

from __future__ import annotations

import json
import pickle
import random

import pytest

from simlm.corpus.passage_file import ARROW_FILE, BATCH_ROWS
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.errors import UserError

COUNT = 2 * BATCH_ROWS + 17  # three Arrow batches, the last one short
PASSAGES = [(f"d{n * 7}", f"title {n}" if n % 2 else "", f"text número {n}\nsecond line") for n in range(COUNT)]
QUERIES = [("q1", "first  query"), ("q2", "second\tquery"), ("q3", "third query"), ("lonely", "never judged")]
QRELS = [("q2", "d7", 2), ("q1", f"d{7 * (COUNT - 1)}", 1), ("q1", "d0", 3), ("q1", "d14", 0), ("q3", "d21", 0)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "corpus"
    write_corpus(folder, iter(PASSAGES), {"test": (QUERIES, QRELS), "dev": (QUERIES[:1], QRELS[1:3])}, {"source": "made"})
    return folder


def damaged(folder, tmp_path):
    import shutil

    return shutil.copytree(folder, tmp_path / "corpus")


def read_all(folder):
    store = CorpusStore(folder)
    return store.queries("test"), store.qrels("test")


def test_random_and_sequential_access_agree_with_the_list(folder):
    store = CorpusStore(folder)
    rows = random.Random(0).choices(range(COUNT), k=500)
    assert len(store) == COUNT
    assert store.ids(rows) == [PASSAGES[row][0] for row in rows]
    assert store.texts(rows) == ([PASSAGES[row][1] for row in rows], [PASSAGES[row][2] for row in rows])
    assert store.rows([PASSAGES[row][0] for row in rows]) == rows
    assert store.rows(["d14"]) == [2]
    for start, stop, size in ((0, None, 1000), (BATCH_ROWS - 3, 2 * BATCH_ROWS + 5, BATCH_ROWS), (5, 6, 10), (7, 7, 10)):
        batches = list(store.iter_batches(start, stop, size))
        assert [row for batch in batches for row in zip(batch.ids, batch.titles, batch.texts)] == PASSAGES[start:stop]
        assert [batch.start for batch in batches] == list(range(start, COUNT if stop is None else stop, size))
    assert store.texts([]) == ([], [])
    assert store.rows([]) == []


def test_datasets_reads_the_same_passages(folder):
    store = CorpusStore(folder)
    assert store.passages.column_names == ["id", "title", "text"]
    assert store.passages.num_rows == COUNT
    assert store.passages[COUNT - 1] == dict(zip(("id", "title", "text"), PASSAGES[-1]))
    assert store.passages.map(lambda row: {"length": len(row["text"])})[0]["length"] == len(PASSAGES[0][2])


def test_splits(folder):
    store = CorpusStore(folder)
    assert store.splits == ["dev", "test"]
    assert list(store.queries("test").items()) == [("q1", "first query"), ("q2", "second query"), ("q3", "third query")]
    assert store.qrels("test") == {"q1": {PASSAGES[-1][0]: 1, "d0": 3, "d14": 0}, "q2": {"d7": 2}, "q3": {"d21": 0}}
    assert store.positives("test") == {"q1": [0, COUNT - 1], "q2": [1]}
    assert store.positives("test", relevance=2) == {"q1": [0], "q2": [1]}
    assert store.manifest["splits"]["test"]["dropped"] == {"unjudged_queries": 1}
    assert store.manifest["splits"]["test"]["without_relevant"] == 1
    assert store.manifest["queries_in_several_splits"] == 1


def test_a_pickled_store_is_small_and_works(folder):
    data = pickle.dumps(CorpusStore(folder))
    assert len(data) < 5000
    assert pickle.loads(data).ids([3]) == ["d21"]


def test_the_digest_is_of_the_content_and_the_bytes_are_the_same_twice(folder, tmp_path):
    again = write_corpus(tmp_path / "again", PASSAGES, {"test": (QUERIES[:3], QRELS), "dev": (QUERIES[:1], QRELS[1:3])}, {"source": "other words"})
    store = CorpusStore(folder)
    assert again["sha256"] == store.sha256
    assert (tmp_path / "again" / ARROW_FILE).read_bytes() == (folder / ARROW_FILE).read_bytes()
    changed = [*PASSAGES[:-1], (PASSAGES[-1][0], PASSAGES[-1][1] + "!", PASSAGES[-1][2])]
    other = write_corpus(tmp_path / "other", changed, {"test": (QUERIES, QRELS)}, {})
    assert other["passages"]["sha256"] != again["passages"]["sha256"]


def test_moving_a_character_between_fields_changes_the_digest(tmp_path):
    split = {"test": ([("q", "x")], [("q", "a", 1)])}
    digests = {
        write_corpus(tmp_path / str(i), [("a", title, text), ("b", "", "y")], split, {})["sha256"] for i, (title, text) in enumerate([("ab", "c"), ("a", "bc")])
    }
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "run simlm prepare-corpus first"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "truncated or not JSON"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "not the manifest of a corpus"),
        (lambda folder: (folder / ARROW_FILE).write_bytes((folder / ARROW_FILE).read_bytes()[:-1000]), "truncated"),
        (lambda folder: (folder / ARROW_FILE).unlink(), "is missing"),
        (lambda folder: (folder / ARROW_FILE).write_bytes(b"\0" * (folder / ARROW_FILE).stat().st_size), "cannot be read as Arrow|truncated|passages but"),
        (lambda folder: (folder / "queries/test.tsv").write_text(""), "is empty"),
        (lambda folder: (folder / "queries/test.tsv").write_text("q1 no tab\n"), r"test.tsv:1 is not 'id, tab, text'"),
        (lambda folder: (folder / "queries/test.tsv").write_text("q1\tone\n"), "holds 1 queries but the manifest says 3"),
        (lambda folder: (folder / "qrels/test.qrels").write_text("q1 0 d0\n"), r"test.qrels:1 is not a judgement"),
        (lambda folder: (folder / "qrels/test.qrels").unlink(), "is missing"),
    ],
)
def test_damage_is_named(folder, tmp_path, harm, sentence):
    copy = damaged(folder, tmp_path)
    harm(copy)
    with pytest.raises(UserError, match=sentence):
        read_all(copy)


def test_wrong_questions_are_named(folder):
    store = CorpusStore(folder)
    with pytest.raises(UserError, match=r"no split 'tests'; did you mean 'test'\?"):
        store.queries("tests")
    with pytest.raises(UserError, match="no passage with the id 'nope'"):
        store.rows(["d0", "nope"])
    for row in (-1, COUNT):
        with pytest.raises(UserError, match=f"no row {row}"):
            store.texts([0, row])


def test_the_manifest_is_plain_json(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["passages"]["count"] == COUNT
    assert manifest["passages"]["with_title"] == COUNT // 2
