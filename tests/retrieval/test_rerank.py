"""Re-ranked runs: order, scores of what is below, and the whole command's work on files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from simlm.config import validate
from simlm.context import Context
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.errors import UserError
from simlm.hardware import Precision
from simlm.models.crossencoder import PairScorer
from simlm.models.folder import save_model
from simlm.paths import Paths
from simlm.retrieval.rerank import reranked
from simlm.runs.runs import Ranking, read_run, write_trec_run
from simlm.stages.rerank import rerank

TEXTS = ["swap two columns", "invert a matrix", "sort the list", "find a row", "join and split", "read numbers", "write numbers", "columns of a matrix"]


def test_reranked_passages_stand_above_the_others():
    before = Ranking("q", np.array([4, 9, 2, 7, 5]), np.array([0.9, 0.8, 0.7, 0.6, 0.5]))
    after = reranked(before, np.array([-1.0, 3.0, -1.0], np.float32))
    assert after.passages.tolist() == [9, 2, 4, 7, 5]  # equal scores: the smaller row first
    assert (np.diff(after.scores) <= 0).all()
    assert after.scores[3:].tolist() == [-2.0, -3.0]


def test_a_run_shorter_than_the_depth_and_an_empty_one():
    assert reranked(Ranking("q", np.array([1]), np.array([0.5])), np.array([2.0])).scores.tolist() == [2.0]
    assert len(reranked(Ranking("q", np.array([], np.int64), np.array([])), np.array([])).passages) == 0


@pytest.fixture
def context(tmp_path, word_tokenizer):
    paths = Paths(tmp_path / "results" / "tiny")
    queries = [(f"q{i}", text) for i, text in enumerate(TEXTS[:5])]
    write_corpus(
        paths.corpus, [(f"p{i}", "", text) for i, text in enumerate(TEXTS)], {"dev": (queries, [(f"q{i}", f"p{i}", 1) for i in range(5)])}, {"source": "test"}
    )
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "initializer_range": 0.3}
    model = BertForSequenceClassification(BertConfig(vocab_size=len(word_tokenizer), num_labels=1, **size)).eval()
    save_model(paths.model("reranker"), model, word_tokenizer, kind="crossencoder", key="k", lengths={"pair": 24})
    values = {
        "name": "tiny",
        "precision": "fp32",
        "corpus": {"source": "python_docs", "packages": ["numpy"]},
        "models": {"reranker": {"kind": "crossencoder", "init": str(tmp_path), "negatives": "bm25", "steps": 1, "rerank_depth": 4, "threads": 1}},
        "evaluate": {"systems": ["bm25", "reranker"], "splits": {"dev": {}}, "main_split": "dev"},
    }

    return Context(validate(values), paths)


def test_the_stage(context):
    store, paths = CorpusStore(context.paths.corpus), context.paths
    with pytest.raises(UserError, match=r"dev\.trec does not exist; run simlm search-bm25 first"):
        rerank(context, "reranker")
    # The third query found three passages, the last one none.
    lengths = [8, 8, 3, 8, 0]
    rankings = [Ranking(f"q{i}", np.random.default_rng(i).permutation(8)[:count], np.linspace(9, 1, count)) for i, count in enumerate(lengths)]
    write_trec_run(paths.run("bm25", "dev"), rankings, store, tag="bm25")
    rerank(context, "reranker")
    after = {ranking.query_id: ranking for ranking in read_run(paths.run("reranker", "dev"), store)}
    scorer, texts = PairScorer.open(paths.model("reranker"), Precision("fp32", "test")), store.queries("dev")
    for before in rankings[:4]:
        top = before.passages[:4]
        scores = scorer.score(texts[before.query_id], *store.texts(top))
        expected = [row for _, row in sorted(zip(-scores, top.tolist()))] + before.passages[4:].tolist()
        assert after[before.query_id].passages.tolist() == expected
        np.testing.assert_allclose(after[before.query_id].scores[: len(top)], -np.sort(-scores), atol=1e-5)
    record = json.loads(paths.record("rerank.reranker").read_text())
    assert record["metrics"]["dev/pairs"] == 4 + 4 + 3 + 4


def test_a_run_of_other_queries_is_refused(context):
    store = CorpusStore(context.paths.corpus)
    write_trec_run(context.paths.run("bm25", "dev"), [Ranking("stranger", np.array([1]), np.array([1.0]))], store, tag="bm25")
    with pytest.raises(UserError, match="'stranger' that its split does not have"):
        rerank(context, "reranker")
    assert not context.paths.run("reranker", "dev").exists()
