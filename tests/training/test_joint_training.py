"""A whole joint training on a tiny corpus: what it learns and writes, and that an interrupted one ends with the same bits."""

from __future__ import annotations

import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch
import yaml
from finetuning import make_context
from safetensors.torch import load_file
from small_vocabulary import word_tokenizer

from simlm.cli import main
from simlm.config import validate
from simlm.corpus.store import CorpusStore
from simlm.errors import UserError
from simlm.hardware import Precision
from simlm.metering import SPEEDS
from simlm.models.crossencoder import PairScorer
from simlm.records.stages import read_stages
from simlm.report.tables import is_small
from simlm.retrieval.encoder import TextEncoder
from simlm.stages.report import write_cards
from simlm.stages.score_teacher import score_teacher
from simlm.stages.train import train
from simlm.training.history import read_history
from simlm.training.joint import ListCollator

SHARED = {"negatives": "bm25", "threads": 1, "log_steps": 1, "learning_rate": 2e-3, "hard_negatives": 3}
RERANKER = {"kind": "crossencoder", **SHARED, "steps": 60, "batch_size": 8, "hard_negatives": 7, "max_length": 32, "forward_factor": 1, "rdrop_weight": 0.0}
JOINT = {"kind": "joint", **SHARED, "steps": 6, "batch_size": 8, "query_length": 16, "passage_length": 32, "max_length": 32, "temperature": 0.05}
PARTS = ("retriever", "reranker")


def weights(context, name: str = "both") -> dict:
    return {part: load_file(context.paths.model(f"{name}.{part}") / "model.safetensors") for part in PARTS}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A re-ranker, then a joint training that starts from it over both kinds of lists."""
    folder = tmp_path_factory.mktemp("joint")
    # Thresholds that a re-ranker of sixty steps reaches.
    denoise = {"positive": 0.8, "negative": 0.4}
    joint = {**JOINT, "reranker_init": "reranker", "teacher": "reranker", "lists": "both", "denoise": denoise, "checkpoint_steps": 2}
    context = make_context(folder, word_tokenizer(), {"reranker": dict(RERANKER), "both": joint})
    train(context, "reranker")
    score_teacher(context, "both")
    train(context, "both")
    return context


def test_both_parts_are_folders_that_load_by_themselves(made):
    store, precision = CorpusStore(made.paths.corpus), Precision("fp32", "test")
    titles, texts = store.texts([0, 1, 2])
    logits = PairScorer.open(made.paths.model("both.reranker"), precision).score("swap a list", titles, texts)
    vectors = TextEncoder(made.paths.model("both.retriever"), precision, 8).queries(["swap a list"])
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    record = json.loads(made.paths.record("train.both").read_text())
    assert set(record["outputs"]) >= {"retriever/weights", "reranker/weights", "models/both.reranker/simlm.json"}
    assert set(record["inputs"]) >= {"negatives", "teacher_scores", "reranker_init", "init/config.json"}
    assert record["notes"]["denoised"]["kept"] > 0
    card = (made.paths.model("both.retriever") / "README.md").read_text()
    assert "Model `both` of the experiment" in card
    assert "RocketQAv2" in card
    assert not made.paths.model("both").exists()


def test_both_parts_moved_and_the_curve_shows_both_losses(made):
    start = {
        "retriever": load_file(made.paths.root.parents[1] / "base" / "model.safetensors"),
        "reranker": load_file(made.paths.model("reranker") / "model.safetensors"),
    }
    for part, found in weights(made).items():
        moved = [name for name, value in found.items() if name in start[part] and "word_embeddings" in name and not torch.equal(value, start[part][name])]
        assert moved, part
    curve = read_history(made.paths.history("both"))
    assert {"loss", "ranking_loss", "divergence", "held_out/retriever_RR", "held_out/reranker_RR"} <= {key for line in curve for key in line}


def test_records_cards_and_sizes_of_parts_are_found(made):
    evaluate = {**made.experiment.evaluate.model_dump(mode="json"), "systems": ["bm25", "both.retriever", "both.reranker"]}
    values = {**made.experiment.model_dump(mode="json"), "evaluate": evaluate}
    context = type(made)(validate(values), made.paths)
    assert write_cards(context) == 2
    assert is_small(context)
    record = json.loads(context.paths.record("train.both").read_text())
    context.paths.record("rerank.both.reranker").write_text(json.dumps({**record, "stage": "rerank.both.reranker"}))
    assert {stage.name for stage in read_stages(context.experiment, context.paths)} >= {"train.both", "rerank.both.reranker"}


def test_the_teacher_scores_every_listed_passage(made):
    record = json.loads(made.paths.record("score_teacher.both").read_text())
    assert record["metrics"]["pairs"] == record["metrics"]["listed_pairs"]


def test_an_interrupted_training_ends_with_the_same_bits(made, tmp_path, monkeypatch, capsys):
    values = made.experiment.model_dump(mode="json")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    undisturbed, curve = weights(made), read_history(made.paths.history("both"))
    for part in PARTS:
        (made.paths.model(f"both.{part}") / "simlm.json").unlink()
    original, calls = ListCollator.__call__, []

    def interrupt(self, items):
        calls.append(items)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, items)

    command = ["train", "--config", str(file), "--model", "both"]
    with monkeypatch.context() as patch:
        patch.setattr(ListCollator, "__call__", interrupt)
        assert main(command) == 143
    assert main(command) == 0
    assert "Resuming from" in capsys.readouterr().err
    for part, found in weights(made).items():
        assert all(torch.equal(value, found[name]) for name, value in undisturbed[part].items()), part
    again = [{key: value for key, value in line.items() if key not in SPEEDS} for line in read_history(made.paths.history("both"))]
    assert again == [{key: value for key, value in line.items() if key not in SPEEDS} for line in curve]


def changed(context, **settings):
    """The same experiment with other settings of the joint training."""
    values = context.experiment.model_dump(mode="json")
    values["models"]["both"] |= settings
    return type(context)(validate(values), context.paths)


def test_the_best_state_on_the_held_out_queries_is_exported_for_both(made):
    """One state, the earliest with the best mean of both models' reciprocal ranks; at a rate that is far too high it is not the last."""
    settings = {"learning_rate": 0.5, "lists": "undenoised", "teacher": None, "denoise": None, "steps": 4}
    values = changed(made, **settings).experiment.model_dump(mode="json")
    both = values["models"].pop("both")
    values["models"] |= {"best": {**both, "keep": "best"}, "last": both}
    context = type(made)(validate(values), made.paths)
    for name in ("best", "last"):
        train(context, name)
    record, curve = json.loads(made.paths.record("train.best").read_text()), read_history(made.paths.history("best"))
    looks = {line["step"]: (line["held_out/retriever_RR"] + line["held_out/reranker_RR"]) / 2 for line in curve if "held_out/RR" in line}
    assert {line["step"]: line["held_out/RR"] for line in curve if "held_out/RR" in line} == pytest.approx(looks)
    assert {0, 4} <= set(looks)
    assert record["metrics"]["kept_step"] == max(looks, key=looks.get) < 4
    assert record["metrics"]["kept/held_out/RR"] == pytest.approx(max(looks.values()))
    for part, found in weights(made, "best").items():
        last = weights(made, "last")[part]
        assert any(not torch.equal(value, last[name]) for name, value in found.items()), part


def test_thresholds_that_leave_nothing_are_refused(made):
    with pytest.raises(UserError, match=r"models\.both\.denoise leaves no query 3 negatives"):
        train(changed(made, denoise={"positive": 0.99999, "negative": 1e-9, "scale": "margin"}), "both")


def test_a_reranker_that_reads_hints_is_not_trained_without_them(made, tmp_path):
    hinted = shutil.copytree(made.paths.model("reranker"), tmp_path / "hinted")
    about = json.loads((hinted / "simlm.json").read_text())
    (hinted / "simlm.json").write_text(json.dumps({**about, "lexical_hints": True}))
    with pytest.raises(UserError, match=r"models\.both\.lexical_hints is false, but .*hinted, which .* reads BM25's scores; set it to true"):
        train(changed(made, reranker_init=str(hinted)), "both")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"lists": "both", "teacher": None, "denoise": None}, "needs a 'teacher'"),
        ({"lists": "undenoised"}, "only matters for denoised lists"),
        ({"teacher": "both.reranker"}, "waits for itself"),
        ({"teacher": "both.retriever"}, "teacher takes a re-ranker"),
        ({"reranker_init": "nobody"}, "no model is called 'nobody'"),
        ({"rerank": "both"}, "rerank takes a system that retrieves"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(made, wrong, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        changed(made, **wrong)
    assert "\n" not in str(refused.value)


def test_a_part_is_where_another_training_starts(made):
    values = made.experiment.model_dump(mode="json")
    values["models"]["later"] = {"kind": "biencoder", **SHARED, "init": "both.retriever", "steps": 1, "batch_size": 8, "query_length": 16, "passage_length": 32}
    values["models"]["again"] = {**JOINT, "init": "both.retriever", "reranker_init": "both.reranker", "steps": 1}
    context = type(made)(validate(values), made.paths)
    train(context, "later")
    train(context, "again")
    assert (made.paths.model("later") / "simlm.json").exists()
    assert all((made.paths.model(f"again.{part}") / "simlm.json").exists() for part in PARTS)
