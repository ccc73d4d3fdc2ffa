"""Queries that stand in their positives are taken out of what the training reads of them, and of nothing else."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from finetuning import DEEDS, THINGS, make_context

from simlm.corpus.store import CorpusStore, write_corpus
from simlm.models.reading import Reading, TextReader
from simlm.training.biencoder import train
from simlm.training.groups import query_key
from simlm.training.hidden import HiddenQueries
from simlm.training.queries import TrainingQueries
from tests.training.test_biencoder_training import embed

PASSAGES = [("p0", "swap rows", "swap the list of a row"), ("p1", "", "find the columns  of numbers. join the row"), ("p2", "list", "sort a list")]
QUERIES = ["swap rows", "find the columns of numbers.", "split"]


@pytest.fixture
def store(tmp_path) -> CorpusStore:
    queries = [(f"q{i}", text) for i, text in enumerate(QUERIES)]
    write_corpus(tmp_path / "corpus", PASSAGES, {"train": (queries, [(f"q{i}", f"p{i}", 1) for i in range(3)])}, {"source": "test"})
    return CorpusStore(tmp_path / "corpus")


def reader(tokenizer, title: str) -> TextReader:
    return TextReader(tokenizer, {"query": 8, "passage": 24}, Reading(title=title))


@pytest.mark.parametrize("title", ["pair", "joined"])
def test_the_positive_is_read_as_if_its_query_were_not_there(store, word_tokenizer, title):
    read = reader(word_tokenizer, title).passages
    hidden = HiddenQueries(1.0, 3, QUERIES, np.array([query_key(f"q{i}") for i in range(3)], np.uint64), store, read)
    rows = np.array([[0, 1], [1, 2], [2, 0]])
    before = read(*store.texts(rows.reshape(-1)))
    after = hidden.put(before, [(0, 0), (0, 1), (0, 2)], rows[:, 0])
    texts = ["swap the list of a row", PASSAGES[1][2], "join the row", "sort a list", "sort a list", PASSAGES[0][2]]
    expected = read(["", "", "", "list", "list", "swap rows"], texts)
    assert [after[i].tolist() for i in range(6)] == [expected[i].tolist() for i in range(6)]
    assert after.second.tolist() == expected.second.tolist()
    assert hidden.standing([0, 1, 2], rows[:, 0]) == pytest.approx(2 / 3)


def test_how_often_is_a_matter_of_the_visit_alone(store, word_tokenizer):
    hidden = HiddenQueries(0.9, 3, QUERIES, np.array([query_key(f"q{i}") for i in range(3)], np.uint64), store, reader(word_tokenizer, "pair").passages)
    items = [(epoch, query) for epoch in range(500) for query in range(3)]
    drawn = hidden.at(items)
    assert drawn.mean() == pytest.approx(0.9, abs=0.03)
    assert hidden.at(items[7:8])[0] == drawn[7]
    assert 0 < drawn[::3].sum() < 500  # the same query is hidden in some epochs and shown in others


def test_held_out_queries_are_asked_with_their_words_hidden(tmp_path, word_tokenizer):
    """The figure of a training that changes nothing, against vectors by transformers alone."""
    block = {"kind": "biencoder", "steps": 1, "batch_size": 8, "learning_rate": 1e-12, "query_length": 8, "passage_length": 24, "threads": 1}
    context = make_context(tmp_path, word_tokenizer, {"hidden": {**block, "hide_query": 1.0}})
    pairs = [(f"{deed} a {thing}", f"the {other} of {thing}") for deed in DEEDS for thing, other in pairwise(THINGS)]
    queries = [(f"q{i}", query) for i, (query, _) in enumerate(pairs)]
    passages = [(f"p{i}", "", f"{query} {rest}") for i, (query, rest) in enumerate(pairs)]
    write_corpus(context.paths.corpus, passages, {"train": (queries, [(f"q{i}", f"p{i}", 1) for i in range(len(pairs))])}, {"source": "test"})
    train(context, "hidden")
    record = json.loads(context.paths.record("train.hidden").read_text())
    assert record["notes"]["hidden queries"].startswith("100% of the training queries stand word for word")

    store = CorpusStore(context.paths.corpus)
    held_out = TrainingQueries.of(context, "hidden", store).held_out.tolist()
    folder = context.paths.model("hidden")
    asked = embed(folder, "query", [pairs[i][0] for i in held_out])
    hidden = embed(folder, "passage", ["-"] * len(held_out), [pairs[i][1] for i in held_out])
    whole = embed(folder, "passage", ["-"] * len(held_out), [passages[i][2] for i in held_out])
    scores = asked @ whole.T
    scores.fill_diagonal_(-2)
    own = (asked * hidden).sum(1)
    assert len(held_out) == 4
    assert record["metrics"]["held_out/RR"] == pytest.approx(float((1 / (1 + (scores > own[:, None]).sum(1))).mean()))
