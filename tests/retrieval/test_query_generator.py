"""Queries that a model writes: a tiny random T5, against transformers' own decoding and the formula of the draw."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from small_vocabulary import word_tokenizer
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

from simlm.cli import main
from simlm.config import validate
from simlm.config.corpora import Generator
from simlm.config.remote import hub_models
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.errors import UserError
from simlm.hardware import Precision
from simlm.retrieval import query_generator
from simlm.retrieval.query_generator import DrawnFromTop, QueryGenerator, written_queries

TEXTS = ["swap the row of a matrix", "sort a list", "find the columns of numbers and join the list", "invert"]
FP32 = Precision("fp32", "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place, tokenizer = tmp_path_factory.mktemp("t5"), word_tokenizer()
    torch.manual_seed(1)
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.sep_token_id, "decoder_start_token_id": tokenizer.pad_token_id}
    size = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), **size, **special, initializer_factor=2.0)).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def generator(folder: Path, **settings) -> QueryGenerator:
    return QueryGenerator(str(folder), Generator(init=str(folder), **{"query_length": 6, "passage_length": 16} | settings), 5, FP32)


def test_the_likeliest_token_alone_is_greedy_decoding(folder):
    found = generator(folder, top_k=1, per_passage=1).write(np.arange(4), TEXTS)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), T5ForConditionalGeneration.from_pretrained(folder).eval()
    for text, (query,) in zip(TEXTS, found):
        ids = model.generate(**tokenizer(text, return_tensors="pt", return_token_type_ids=False), max_new_tokens=6, do_sample=False)
        assert query == tokenizer.decode(ids[0], skip_special_tokens=True)


def test_a_query_is_the_same_in_every_batch(folder):
    whole = generator(folder).write(np.array([3, 8, 1, 7]), TEXTS)
    assert whole == generator(folder, batch_tokens=64).write(np.array([3, 8, 1, 7]), TEXTS)
    assert generator(folder).write(np.array([1]), TEXTS[2:3]) == whole[2:3]
    assert len(set(whole[0])) == 3  # drawn, not the same three times
    assert generator(folder).write(np.array([4]), TEXTS[:1]) != whole[:1]


def test_draws_have_the_probabilities_of_the_softmax_over_the_top():
    logits, visits = torch.tensor([1.0, -9.0, 0.0, 2.0]), np.stack([np.arange(20_000), np.zeros(20_000, int)], 1)
    left = DrawnFromTop(0, visits, 3)(torch.zeros(20_000, 4), logits.repeat(20_000, 1))
    assert (left.isfinite().sum(1) == 1).all()
    expected = torch.softmax(torch.tensor([1.0, -torch.inf, 0.0, 2.0]).double(), 0)
    assert left.isfinite().double().mean(0).tolist() == pytest.approx(expected.tolist(), abs=0.012)  # three standard errors


def test_a_killed_stage_goes_on(folder, tmp_path, monkeypatch):
    passages = [(f"p{i}", "", text) for i, text in enumerate(TEXTS)]
    write_corpus(tmp_path / "corpus", passages, {"test": ([("q", "x")], [("q", "p0", 1)])}, {"source": "test"})
    monkeypatch.setattr(query_generator, "PART", 2)
    one, rows, store = generator(folder), np.arange(4), CorpusStore(tmp_path / "corpus")
    whole = list(written_queries(one, store, rows, tmp_path / "whole", "key"))
    some = written_queries(one, store, rows, tmp_path / "parts", "key")
    next(some)
    some.close()
    asked = []
    monkeypatch.setattr(one, "write", lambda rows, texts, write=one.write: asked.append(rows.tolist()) or write(rows, texts))
    assert list(written_queries(one, store, rows, tmp_path / "parts", "key")) == whole
    assert asked == [[2, 3]]
    next(written_queries(one, store, rows, tmp_path / "parts", "another"))
    assert [place.name for place in (tmp_path / "parts").iterdir()] == ["another"]


def test_the_stage_writes_splits_of_generated_queries(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("data/qrels").mkdir(parents=True)
    Path("data/corpus.jsonl").write_text("".join(json.dumps({"_id": f"p{i}", "text": text}) + "\n" for i, text in enumerate(TEXTS)))
    Path("data/queries.jsonl").write_text(json.dumps({"_id": "q1", "text": "a question"}) + "\n")
    Path("data/qrels/test.tsv").write_text("q1\tp0\t1\n")
    made = {"query": "generated", "generator": {"init": str(folder), "query_length": 6}, "parts": {"train": 1.0}, "words": [1, 9], "found_within": None}
    corpus = {"source": "beir", "path": "data", "splits": {"test": "test"}, "made_queries": made}
    values = {"name": "mine", "precision": "fp32", "corpus": corpus, "models": {}, "evaluate": {"systems": ["bm25"], "splits": {"test": {}}}}
    values["evaluate"]["main_split"] = "test"
    Path("mine.yaml").write_text(yaml.safe_dump(values))
    for command in ("prepare-corpus", "make-queries"):
        assert main([command, "--config", "mine.yaml"]) == 0
    written = QueryGenerator(str(folder), Generator(**made["generator"]), validate(values).seed, FP32).write(np.arange(4), TEXTS)
    store = CorpusStore("results/mine/corpus")
    queries, qrels = store.queries("train"), store.qrels("train")
    assert set(queries.values()) <= {query for own in written for query in own}
    assert all(qrels[name] == {name.split(":")[1]: 1} for name in queries)
    record = json.loads(Path("results/mine/stages/make_queries.json").read_text())
    assert (record["metrics"]["made"], record["metrics"]["passages"], len(queries)) == (12, 4, record["metrics"]["kept"])
    assert record["notes"]["precision"]["name"] == "fp32"
    assert "generator/model.safetensors" in record["inputs"]
    assert not Path("results/mine/made_queries").exists()
    corpus["made_queries"]["generator"]["init"] = "./nowhere"
    Path("mine.yaml").write_text(yaml.safe_dump(values))
    assert main(["check", "--config", "mine.yaml"]) == 2
    assert "the folder './nowhere' does not exist" in capsys.readouterr().err


def test_what_does_not_fit(folder, tmp_path):
    with pytest.raises(UserError, match="needs a 'generator'"):
        validate(_values({"query": "generated"}))
    with pytest.raises(UserError, match="needs a 'generator'"):
        validate(_values({"query": "title", "generator": {"init": "a/b"}}))
    assert hub_models(validate(_values({"query": "generated", "generator": {"init": "doc2query/some"}}))) == ["doc2query/some"]
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    word_tokenizer().save_pretrained(tmp_path)
    shutil.copy(folder / "model.safetensors", tmp_path)
    with pytest.raises(UserError, match="does not hold a query generator"):
        generator(tmp_path)


def _values(made: dict) -> dict:
    corpus = {"source": "beir", "path": "data", "splits": {"test": "test"}, "made_queries": made}
    return {"name": "x", "corpus": corpus, "models": {}, "evaluate": {"systems": ["bm25"], "splits": {"test": {}}, "main_split": "test"}}
