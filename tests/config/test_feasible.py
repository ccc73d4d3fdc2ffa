"""What `simlm check` refuses or warns of before anything runs, without a network and in little time."""

from __future__ import annotations

import copy
import gzip
import json
import subprocess
import sys

import pytest
import yaml
from changes import put

from simlm.cli import main
from simlm.config import load_experiment

SIZE = {"layers": 2, "hidden": 32, "positions": 64}
VALID = {
    "name": "tiny",
    "corpus": {"source": "python_docs", "packages": ["networkx"]},
    "negatives": {"depth": 20, "sample": 10, "pad_to": 12},
    "models": {
        "base": {"kind": "mlm", "size": SIZE, "steps": 5, "max_length": 64},
        "first": {"kind": "biencoder", "init": "base", "negatives": "bm25", "steps": 5, "hard_negatives": 12, "passage_length": 64},
        "reranker": {"kind": "crossencoder", "init": "base", "negatives": "first", "steps": 5, "hard_negatives": 7, "max_length": 64, "rerank_depth": 50},
        "both": {"kind": "fusion", "of": ["first", "bm25"]},
    },
    "evaluate": {"systems": ["bm25", "first"], "splits": {"test": {}}, "main_split": "test", "metrics": ["RR@10", "R@50"], "depth": 50},
}


def checked(folder, capsys, change=None) -> tuple[int, str]:
    values = copy.deepcopy(VALID)
    if change:
        change(values)
    (folder / "c.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    code = main(["check", "--config", str(folder / "c.yaml")])
    output = capsys.readouterr()
    return code, output.out + output.err


REFUSED = {
    "a metric nobody knows": (put("evaluate", "metrics", ["RR@10", "Foo@10"]), ["c.yaml:", "evaluate.metrics.1", "no metric is called 'Foo@10'"]),
    "a misspelt metric": (put("evaluate", "metrics", ["RR@10", "nDGC@10"]), ["did you mean 'nDCG@10'?"]),
    "one metric by two names": (put("evaluate", "metrics", ["RR@10", "MRR@10"]), ["RR@10 is listed twice"]),
    "no index of a model": (put("models", "first", "index", {"factory": "Foo"}), ["c.yaml:", "models.first.index.factory", "'Foo' is no index"]),
    "no index": (put("index", {"factory": "Foo"}), ["c.yaml:", "index.factory", "'Foo' is no index for inner products of 32 numbers"]),
    "an index of distances alone": (put("index", {"factory": "LSH"}), ["index.factory", "'LSH' is no index for inner products"]),
    "an index that does not divide": (put("index", {"factory": "PQ7"}), ["index.factory", "multiple"]),
    "an index without cells": (put("index", {"factory": "IVF0,Flat"}), ["index.factory", "'IVF0,Flat' has no cells"]),
    "an index with ids": (put("index", {"factory": "IDMap,Flat"}), ["index.factory", "a passage's id is its row"]),
    "too few to train": (put("index", {"factory": "IVF1024,Flat", "train_vectors": 500}), ["index.train_vectors", "learns from 1,024 vectors at least"]),
    "too few passages": (
        lambda v: v.update(index={"factory": "IVF64,PQ16"}, corpus={**v["corpus"], "max_passages": 200}),
        ["index.factory", "learns from 256 vectors at least, but corpus.max_passages is 200"],
    ),
    "cells of a flat index": (put("index", {"nprobe": 4}), ["index.nprobe", "no cells"]),
    "longer than the positions": (put("models", "first", "passage_length", 65), ["models.first.passage_length", "65 tokens are more than the 64 positions"]),
    "longer by default": (lambda v: v["models"]["reranker"].pop("max_length"), ["models.reranker", "192 tokens are more than the 64 positions"]),
    "no such folder": (put("models", "first", "init", "./nowhere"), ["models.first.init", "the folder './nowhere' does not exist"]),
    "no such home": (put("models", "first", "init", "~nobody/x"), ["models.first.init", "the folder '~nobody/x' does not exist"]),
    "no such tokenizer": (put("tokenizer", {"init": "/nowhere/x"}), ["tokenizer.init", "does not exist"]),
    "no such corpus": (
        put("corpus", {"source": "beir", "path": "nowhere", "splits": {"train": "train", "test": "test"}}),
        ["corpus.path", "the folder nowhere does not exist"],
    ),
    "more negatives than listed": (put("models", "first", "hard_negatives", 13), ["models.first.hard_negatives", "they would repeat", "gives 12"]),
    "one system fused with itself": (put("models", "both", "of", ["bm25", "bm25"]), ["models.both.of.1", "'bm25' is there twice"]),
    "published figures that are not there": (put("gate", {"published": "none.yaml"}), ["gate.published", "does not exist"]),
}

WARNED = {
    "deeper than the runs": (
        put("evaluate", "metrics", ["RR@10", "R@1k"]),
        "R@1000 looks at more passages than the runs hold (evaluate.depth 50), so that its figures are those of R@50",
    ),
    "more drawn than mined": (put("negatives", {"depth": 12, "sample": 20, "pad_to": 12}), "negatives.sample: 20 of the top 12 cannot be drawn"),
    "more re-ranked than found": (put("models", "reranker", "rerank_depth", 200), "models.reranker.rerank_depth: the runs hold 50 passages"),
    "a folder for MLflow": (put("tracking", {"uri": "./mlruns"}), "tracking.uri: MLflow does not write to a folder"),
    "a misspelt scheme": (put("tracking", {"uri": "htpp://localhost:5000"}), "did you mean 'http'?"),
    "no port": (put("tracking", {"uri": "http://localhost:port"}), "tracking.uri: this is no address"),
    "few for the cells": (
        lambda v: v.update(index={"factory": "IVF64,Flat"}, corpus={**v["corpus"], "max_passages": 1000}),
        "faiss advises 2,496 vectors to train IVF64,Flat; corpus.max_passages is 1,000",
    ),
}


def test_a_start_that_can_retrieve_is_to_be_judged_untouched(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    start = tmp_path / "encoder"
    start.mkdir()
    (start / "modules.json").write_text("[]")
    code, said = checked(tmp_path, capsys, lambda v: v["models"]["first"].update(init=str(start)))
    assert code == 0
    assert f"caution: models.first.init: {start} can retrieve as it is, but nothing judges it untouched" in said

    def judged(values):
        values["models"]["first"]["init"] = str(start)
        values["models"]["start"] = {"kind": "given_biencoder", "init": str(start)}
        values["evaluate"]["systems"].append("start")

    code, said = checked(tmp_path, capsys, judged)
    assert code == 0
    assert "caution" not in said


def test_the_valid_one_has_no_caution(tmp_path, capsys):
    code, said = checked(tmp_path, capsys)
    assert code == 0
    assert "caution" not in said


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    change, parts = REFUSED[name]
    code, said = checked(tmp_path, capsys, change)
    assert code == 2
    assert all(part in said for part in parts), said


@pytest.mark.parametrize("name", WARNED)
def test_warned(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    change, sentence = WARNED[name]
    code, said = checked(tmp_path, capsys, change)
    assert code == 0
    assert f"caution: {sentence}" in said or sentence in said


@pytest.mark.parametrize(
    ("about", "limit"),
    [
        ({"model_type": "bert", "max_position_embeddings": 100}, 100),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 100, "pad_token_id": 1}, 98),
        ({"model_type": "gpt2", "n_positions": 100}, 100),
    ],
)
def test_positions_of_a_local_model(tmp_path, capsys, about, limit):
    """RoBERTa's kin count positions from 2, as their embedding tables are two longer than the longest input."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text(json.dumps(about))
    given = {"kind": "given_biencoder", "init": str(tmp_path / "model"), "query_length": 32, "passage_length": limit}
    assert checked(tmp_path, capsys, put("models", "given", given))[0] == 0
    code, said = checked(tmp_path, capsys, put("models", "given", {**given, "passage_length": limit + 1}))
    assert code == 2
    assert f"more than the {limit} positions" in said


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("factory", "code", "sentence"),
    [
        ("IVF501,Flat", 2, "IVF501,Flat learns from 501 vectors at least, but the lines of {} are 500"),
        ("IVF4096,PQ16", 2, "learns from 4,096 vectors at least, but the lines of {} are 500"),
        ("IVF16,Flat", 0, "faiss advises 624 vectors to train IVF16,Flat; the lines of {} are 500"),
        ("IVF12,Flat", 0, None),
    ],
)
def test_an_index_needs_as_many_passages_as_it_learns_from(tmp_path, capsys, factory, code, sentence, packed):
    file = tmp_path / ("corpus.jsonl.gz" if packed else "corpus.jsonl")
    content = b'{"_id": "d", "text": "x"}\n' * 500
    file.write_bytes(gzip.compress(content) if packed else content)

    def change(values):
        values.update(index={"factory": factory}, corpus={"source": "beir", "path": str(tmp_path), "splits": {"train": "train", "test": "test"}})

    found, said = checked(tmp_path, capsys, change)
    assert found == code
    assert sentence.format(file) in said if sentence else "caution" not in said


def test_a_folder_that_looks_like_a_repository(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pretrained/base").mkdir(parents=True)
    code, said = checked(tmp_path, capsys, put("models", "first", "init", "pretrained/bsae"))
    assert code == 0
    assert "there is no folder pretrained/bsae; did you mean 'pretrained/base'? (so it is taken for a Hugging Face id)" in said


def test_names_become_canonical(tmp_path):
    values = copy.deepcopy(VALID)
    values["evaluate"] |= {"metrics": ["MRR@10", "ndcg_cut_10", "map"], "main_metric": "mrr_10"}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    evaluate = load_experiment(tmp_path / "c.yaml").evaluate
    assert (evaluate.metrics, evaluate.main_metric) == (["RR@10", "nDCG@10", "AP"], "RR@10")


def test_the_default_metrics_fit_the_depth(tmp_path):
    values = copy.deepcopy(VALID)
    del values["evaluate"]["metrics"]
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    assert load_experiment(tmp_path / "c.yaml").evaluate.metrics == ["RR@10", "R@50", "nDCG@10", "AP"]


WATCHED = """
import socket, sys
def refuse(*_): raise OSError("no network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from simlm.cli import main
code = main(["check", "--config", sys.argv[1]])
print(sorted({"torch", "transformers", "mlflow", "datasets", "pandas", "snakemake"} & set(sys.modules)))
sys.exit(code)
"""


@pytest.mark.parametrize(("factory", "code"), [("IVF16,SQfp16", 0), ("Foo", 2)])
def test_it_is_quick_and_asks_nobody(tmp_path, factory, code):
    """What takes long to import is left alone, and no address is looked up."""
    values = {**VALID, "index": {"factory": factory}, "tracking": {"uri": "http://tracking.invalid:5000"}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    done = subprocess.run([sys.executable, "-c", WATCHED, str(tmp_path / "c.yaml")], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("kind", ["biencoder", "crossencoder", "bottleneck", "mlm", "given_biencoder", "given_crossencoder"])
@pytest.mark.parametrize("start", ["./nowhere", "~nobody/x", "/nowhere/model"])
def test_a_start_that_does_not_exist_is_refused_for_every_kind(tmp_path, monkeypatch, capsys, kind, start):
    monkeypatch.chdir(tmp_path)
    settings = {"bottleneck": {"encoder_corruption": "masked", "decoder_corruption": "masked", "probe": None}, "given_crossencoder": {"rerank": "bm25"}}
    settings |= {one: {"negatives": "bm25", "hard_negatives": 5} for one in ("biencoder", "crossencoder")}
    trained = {} if kind.startswith("given") else {"steps": 5}
    code, said = checked(tmp_path, capsys, put("models", "other", {"kind": kind, "init": start, **trained, **settings.get(kind, {})}))
    assert code == 2
    assert f"models.other.init: the folder '{start}' does not exist" in said


@pytest.mark.parametrize(
    ("files", "settings", "width"),
    [
        ({}, {}, 48),
        ({"config.json": {"model_type": "distilbert", "dim": 40}}, {}, 40),
        ({"1_Pooling/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}}, {}, 96),
        ({"1_Pooling/config.json": {"pooling_mode": ["mean", "max", "cls"]}}, {}, 144),
        ({}, {"pooling": ["mean", "cls"]}, 96),
        (
            {"modules.json": [{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Dense"}, {"path": "3_Normalize"}], "2_Dense/config.json": {"out_features": 20}},
            {},
            20,
        ),
        ({"2_Dense/config.json": {"in_features": 48, "out_features": 28}}, {}, 28),
        ({"config_sentence_transformers.json": {"truncate_dim": 36}}, {}, 36),
        ({"simlm.json": {"pooling": ["cls", "mean"]}}, {}, 96),
    ],
)
def test_an_index_is_tried_on_the_width_of_the_vectors(tmp_path, capsys, files, settings, width):
    """Joined poolings make vectors wider, Dense modules and cuts narrower; a refusal names the width."""
    for name, about in {"config.json": {"model_type": "bert", "hidden_size": 48}, **files}.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_text(json.dumps(about))

    def change(values):
        values["models"] = {"given": {"kind": "given_biencoder", "init": str(tmp_path / "model"), **settings}}
        values["evaluate"]["systems"] = ["bm25", "given"]
        values["index"] = {"factory": "PQ7x8"}

    code, said = checked(tmp_path, capsys, change)
    if width % 7:
        assert code == 2
        assert f"'PQ7x8' is no index for inner products of {width} numbers" in said
    else:
        assert "numbers" not in said
