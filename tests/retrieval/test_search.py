"""From a trained model to its runs, through the commands: embed, index, search."""

from __future__ import annotations

import json

import faiss
import numpy as np
import pytest
import torch

from simlm.cli import main
from simlm.config import validate
from simlm.config.graph import searched_splits
from simlm.config.jobs import runs_made
from simlm.corpus.store import CorpusStore
from simlm.hardware import Precision
from simlm.indexes.from_shards import ShardedSearch
from simlm.retrieval.encoder import TextEncoder
from simlm.retrieval.queries import QueryVectors
from simlm.retrieval.search import search_split
from simlm.runs.runs import read_run, read_train_run
from simlm.vectors.shards import Shards
from simlm.vectors.vectors import Vectors


@pytest.fixture
def simlm(searchable, capsys):
    """Runs a command on the experiment; returns exit code and standard error."""
    threads = torch.get_num_threads()

    def call(command, *options):
        code = main([command, "--experiment", "tiny", "--results", str(searchable.paths.root.parent), *options])
        return code, capsys.readouterr().err

    yield call
    torch.set_num_threads(threads)


def ready(simlm):
    assert simlm("encode", "--model", "distilled")[0] == 0
    assert simlm("build-index", "--model", "distilled")[0] == 0


def test_runs_equal_an_exhaustive_search(simlm, searchable):
    ready(simlm)
    for splits in ([], ["--splits", "train"]):
        assert simlm("search-index", "--model", "distilled", *splits)[0] == 0
    paths, store = searchable.paths, CorpusStore(searchable.paths.corpus)
    encoder = TextEncoder(paths.model("distilled"), Precision("fp32", "test"), 16)
    passages = encoder.passages(*store.texts(range(len(store)))).astype(np.float64)
    for split, depth, run in (("train", 30, read_train_run(paths.train_run("distilled"))), ("test", 50, read_run(paths.run("distilled", "test"), store))):
        rankings = list(run)
        assert [ranking.query_id for ranking in rankings] == list(store.queries(split))
        for ranking, text in zip(rankings, store.queries(split).values()):
            scores = passages @ encoder.queries([text])[0]
            assert len(ranking.passages) == depth
            np.testing.assert_allclose(ranking.scores, np.sort(scores)[::-1][:depth], atol=2e-6)
            np.testing.assert_allclose(scores[ranking.passages], ranking.scores, atol=2e-6)
    for part, metrics, output in (("", {"queries/test": 3, "passages/test": 150}, "test"), (".train", {"queries/train": 3, "passages/train": 90}, "train run")):
        record = json.loads(paths.record(f"search_index.distilled{part}").read_text())
        assert (record["metrics"], set(record["outputs"])) == (metrics, {output})
        assert set(record["inputs"]) == {"corpus", "model", "index"}
    for stage in ("encode.distilled.1-of-2", "encode.distilled.2-of-2", "build_index.distilled"):
        assert paths.record(stage).exists()


def test_how_many_queries_go_together_changes_no_run(simlm, searchable):
    assert simlm("encode", "--model", "distilled")[0] == 0
    paths, store = searchable.paths, CorpusStore(searchable.paths.corpus)
    encoder = TextEncoder(paths.model("distilled"), Precision("fp32", "test"), 16)
    search = ShardedSearch(Shards(paths.embeddings("distilled"), 2), block=7)
    texts = store.queries("train")
    queries = QueryVectors(list(texts), Vectors(encoder.queries(list(texts.values()))))
    together = list(search_split(queries, search, 30))
    for blocks_at_once in (1, 2, 8):
        search.blocks_at_once = blocks_at_once
        alone = list(search_split(queries, search, 30, queries_at_once=1))
        assert [ranking.query_id for ranking in alone] == list(store.queries("train"))
        for one, other in zip(alone, together):
            np.testing.assert_array_equal(one.passages, other.passages)
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)


def test_shards_and_their_direct_search_give_the_same_runs(simlm, searchable, monkeypatch):
    monkeypatch.setattr(faiss.cvar, "distance_compute_blas_threshold", 1)  # for so few queries faiss would add up in another order
    ready(simlm)
    file = searchable.paths.run("distilled", "test")
    assert simlm("search-index", "--model", "distilled", "--splits", "test")[0] == 0
    first = file.read_bytes()
    assert simlm("search-index", "--model", "distilled", "--splits", "test", "--from-shards")[0] == 0
    assert [line.split()[:4] for line in file.read_bytes().splitlines()] == [line.split()[:4] for line in first.splitlines()]
    for shard in range(1, 6):
        assert simlm("encode", "--model", "distilled", "--shard", str(shard), "--shards", "5")[0] == 0
    assert simlm("build-index", "--model", "distilled", "--shards", "5")[0] == 0
    assert simlm("search-index", "--model", "distilled", "--splits", "test")[0] == 0
    assert file.read_bytes() == first


def test_a_new_model_asks_for_new_vectors(simlm, searchable, word_tokenizer, tiny_encoder):
    from simlm.models.folder import save_model

    ready(simlm)
    save_model(searchable.paths.model("distilled"), tiny_encoder, word_tokenizer, kind="biencoder", key="k", lengths={"query": 8, "passage": 20})
    with torch.no_grad():
        tiny_encoder.embeddings.word_embeddings.weight += 0.1
    save_model(searchable.paths.model("distilled"), tiny_encoder, word_tokenizer, kind="biencoder", key="k", lengths={"query": 8, "passage": 20})
    code, message = simlm("search-index", "--model", "distilled")
    assert code == 2
    assert "was built from another model than the 'distilled' that is there now" in message
    assert not searchable.paths.run("distilled", "test").exists()
    code, message = simlm("build-index", "--model", "distilled")
    assert code == 2
    assert "was embedded with another model" in message


@pytest.mark.parametrize(
    ("command", "options", "sentence"),
    [
        ("encode", ["--model", "distiled"], "no model of 'tiny' is called 'distiled'; did you mean 'distilled'?"),
        ("encode", ["--model", "reranker"], "'reranker' is of kind crossencoder, which encode does not take; it takes distilled, second"),
        ("encode", ["--model", "second"], "simlm.json does not exist; run simlm train --model second first"),
        ("encode", ["--model", "distilled", "--shard", "3", "--shards", "2"], "there is no shard 3 of 2"),
        ("encode", ["--model", "distilled", "--shard", "0"], "there is no shard 0 of 2"),
        ("encode", ["--model", "distilled", "--shards", "0"], "0 shards are none"),
        ("build-index", ["--model", "distilled"], "1-of-2.json does not exist; run simlm encode --model distilled --shard 1 --shards 2 first"),
        ("search-index", ["--model", "distilled"], "manifest.json does not exist; run simlm build-index --model distilled first"),
        ("search-index", ["--model", "distilled", "--splits", "tset"], "has no split 'tset'; did you mean 'test'?"),
    ],
)
def test_one_sentence_for_each_mistake(simlm, command, options, sentence):
    code, message = simlm(command, *options)
    assert code == 2
    assert sentence in message.splitlines()[-1]
    assert "Traceback" not in message


def test_which_runs_are_made(searchable):
    experiment = searchable.experiment
    assert searched_splits(experiment, "distilled") == ["train", "test"]
    assert searched_splits(experiment, "second") == ["test"]
    assert (runs_made(experiment), runs_made(experiment, "train")) == ([("test", False)], [("train", True)])
    values = experiment.model_dump(mode="json")
    values["evaluate"]["splits"]["train"] = {}
    judged = validate(values)
    assert runs_made(judged) == [("test", False), ("train", False)]
    assert runs_made(judged, "train") == [("train", True)]
    assert runs_made(judged, "train+test") == [("train", False), ("test", False)]
