"""BM25 against Lucene's formula in float64, against bm25s, and on odd queries and damaged folders."""

from __future__ import annotations

import json
import math
import re
from collections import Counter

import numpy as np
import pytest

from simlm.errors import UserError
from simlm.lexical.bm25 import Bm25Index

K1, B = 0.82, 0.68


def lucene(documents: list[list[str]], query: list[str]) -> np.ndarray:
    """Scores of all documents, term by term as Lucene's BM25Similarity adds them up, without (k1 + 1)."""
    average = sum(map(len, documents)) / len(documents)
    scores = np.zeros(len(documents))
    for term in query:
        frequency = sum(term in document for document in documents)
        idf = math.log(1 + (len(documents) - frequency + 0.5) / (frequency + 0.5))
        for row, document in enumerate(documents):
            count = Counter(document)[term]
            scores[row] += idf * count / (count + K1 * (1 - B + B * len(document) / average))
    return scores


@pytest.fixture(scope="module")
def documents() -> list[str]:
    random = np.random.default_rng(5)
    words = np.array([f"w{i}" for i in range(60)])
    chances = 1 / np.arange(1, 61)
    return [" ".join(random.choice(words, size=random.integers(1, 40), p=chances / chances.sum())) for _ in range(300)]


@pytest.fixture(scope="module")
def index(documents) -> Bm25Index:
    return Bm25Index.build(documents, "words", K1, B)


@pytest.fixture
def saved(index, tmp_path):
    index.save(tmp_path / "bm25", {"corpus_sha256": "abc"})
    return tmp_path / "bm25"


QUERIES = ["w3 w7 w20", "w59", "w0 w0 w1", "w1 w2 w3 w4 w5 w6 w7 w8", "w40 unknown", "W3, w7; W20?"]


@pytest.mark.parametrize("query", QUERIES)
def test_scores_are_lucenes(index, documents, query):
    terms = re.findall(r"w\d+", query.lower())
    expected = lucene([document.split() for document in documents], terms)
    rows, scores = index.search([query], 300)
    rows, scores = rows[0][rows[0] >= 0], scores[0][rows[0] >= 0]
    assert sorted(rows.tolist()) == np.flatnonzero(expected).tolist()
    np.testing.assert_allclose(scores, expected[rows], rtol=2e-6)


@pytest.mark.parametrize("query", QUERIES)
def test_scores_are_bm25s_own(index, query):
    rows, scores = next(iter(index.rank([query], 10**6)))
    np.testing.assert_allclose(scores, index.engine.get_scores(index.analyzer(query))[rows], rtol=1e-6)


@pytest.mark.parametrize("k", [1, 7, 50])
def test_top_is_the_head_of_the_whole_order(index, k):
    for query in QUERIES:
        (rows, scores), (all_rows, all_scores) = next(iter(index.rank([query], k))), next(iter(index.rank([query], 1000)))
        assert rows.tolist() == all_rows[:k].tolist()
        assert scores.tolist() == all_scores[:k].tolist()
        assert all_rows.tolist() == [row for _, row in sorted(zip((-all_scores).tolist(), all_rows.tolist()))]


def test_ties_go_to_the_smaller_row():
    index = Bm25Index.build(["other", *["same words here"] * 20, "other"], "words")
    rows, scores = index.search(["same words"], 5)
    assert rows.tolist() == [[1, 2, 3, 4, 5]]
    assert len(set(scores[0].tolist())) == 1


def test_queries_without_known_terms_find_nothing(index):
    rows, scores = index.search(["", "?!", "unknown terms only", "w1"], 4)
    assert (rows[:3] == -1).all()
    assert np.isneginf(scores[:3]).all()
    assert (rows[3] >= 0).all()
    assert index.search([], 4)[0].shape == (0, 4)


def test_threads_and_earlier_queries_change_nothing(index):
    queries = QUERIES * 50
    alone = [index.search([query], 20) for query in QUERIES] * 50
    for threads in (1, 2, 5):
        rows, scores = index.search(queries, 20, threads)
        np.testing.assert_array_equal(rows, np.concatenate([one[0] for one in alone]))
        np.testing.assert_array_equal(scores, np.concatenate([one[1] for one in alone]))


def test_building_in_blocks_gives_the_same_index(index, documents, monkeypatch):
    from simlm.lexical import bm25

    monkeypatch.setattr(bm25._TermLists, "BLOCK", 7)
    again = Bm25Index.build(iter(documents), "words", K1, B)
    assert again.engine.vocab_dict == index.engine.vocab_dict
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(again.engine.scores[name], index.engine.scores[name])


def test_loaded_index_finds_the_same(index, saved):
    loaded = Bm25Index.load(saved, "abc")
    assert loaded.manifest["analyzer"] == "words"
    assert (loaded.manifest["k1"], loaded.manifest["b"], len(loaded)) == (K1, B, 300)
    for mine, other in zip(index.search(QUERIES, 30), loaded.search(QUERIES, 30)):
        np.testing.assert_array_equal(mine, other)


def test_same_corpus_same_bytes(documents, saved, tmp_path):
    Bm25Index.build(documents, "words", K1, B).save(tmp_path / "again", {"corpus_sha256": "abc"})
    assert sorted(file.name for file in saved.iterdir()) == sorted(file.name for file in (tmp_path / "again").iterdir())
    for file in saved.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_a_document_without_terms_is_never_found():
    index = Bm25Index.build(["a b", "", "!!", "b c"], "words")
    assert len(index) == 4
    assert index.search(["a b c"], 4)[0].tolist() in ([[0, 3, -1, -1]], [[3, 0, -1, -1]])


def test_no_terms_at_all_is_refused():
    with pytest.raises(UserError, match="found no term in any passage"):
        Bm25Index.build(["", "?"], "words")


@pytest.mark.parametrize("name", ["data.csc.index.npy", "vocab.index.json", "indptr.csc.index.npy"])
def test_truncated_and_missing_files_are_refused(saved, name):
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[:-3])
    with pytest.raises(UserError, match=rf"{name} is truncated .* run simlm index-bm25 again"):
        Bm25Index.load(saved)
    (saved / name).unlink()
    with pytest.raises(UserError, match=f"{name} is truncated"):
        Bm25Index.load(saved)


def test_foreign_folders_are_refused(saved, tmp_path):
    with pytest.raises(UserError, match="does not exist; run simlm index-bm25 first"):
        Bm25Index.load(tmp_path / "nothing")
    with pytest.raises(UserError, match="made from another corpus"):
        Bm25Index.load(saved, "other")
    (saved / "manifest.json").write_text(json.dumps({"analyzer": "made up"}))
    with pytest.raises(UserError, match="not the manifest of a BM25 index"):
        Bm25Index.load(saved)
