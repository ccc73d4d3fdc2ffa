"""The best weights on the held-out queries are exported, the start among them; trainings end early, and resumed ones alike."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from finetuning import make_context
from safetensors.torch import load_file

from simlm.errors import Interrupted
from simlm.training.biencoder import train
from simlm.training.history import read_history
from simlm.training.job import start_job
from simlm.training.selection import MEASURE, Selection
from tests.training.test_biencoder_training import BLOCK


def exported(context, name: str) -> dict[str, torch.Tensor]:
    return load_file(context.paths.model(name) / "model.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in second if name in first)


def record(context, name: str) -> dict:
    return json.loads(context.paths.record(f"train.{name}").read_text())


def looks(context, name: str) -> list[tuple[int, float]]:
    return [(line["step"], line[MEASURE]) for line in read_history(context.paths.history(name)) if MEASURE in line]


def test_a_training_that_harms_exports_its_start_and_says_so(tmp_path, word_tokenizer):
    good = dict(BLOCK)
    harmful = {**BLOCK, "init": str(tmp_path / "results/tiny/models/good"), "steps": 20, "learning_rate": 0.5, "warmup_steps": 0, "keep": "best", "patience": 3}
    context = make_context(tmp_path, word_tokenizer, {"good": good, "harmed": harmful, "unsaid": {**harmful, "keep": "last"}})
    train(context, "good")
    train(context, "harmed")
    assert same(exported(context, "harmed"), exported(context, "good"))
    about, found = record(context, "harmed"), looks(context, "harmed")
    assert found[0][0] == 0
    assert about["metrics"]["kept_step"] == 0
    assert about["metrics"]["kept/held_out/RR"] == max(value for _, value in found)
    assert len(found) == 4
    assert about["metrics"]["steps"] == found[-1][0] < 20
    assert any("exported as it was; lower models.harmed.learning_rate (0.5)" in sentence for sentence in about["notes"]["cautions"])
    train(context, "unsaid")
    assert not same(exported(context, "unsaid"), exported(context, "good"))
    assert looks(context, "unsaid")[0][0] > 0


def test_what_is_exported_is_what_the_best_look_saw(tmp_path, word_tokenizer):
    """The weights of a training that stops at the best step by itself are the same, to the bit."""
    block = {**BLOCK, "learning_rate": 5e-3, "steps": 60, "keep": "best", "warmup_steps": 0}
    context = make_context(tmp_path, word_tokenizer, {"chosen": block})
    train(context, "chosen")
    found, kept = looks(context, "chosen"), record(context, "chosen")["metrics"]["kept_step"]
    assert kept == max(found, key=lambda look: (look[1], -look[0]))[0]
    assert len(found) == 11
    assert found[0][1] < max(value for _, value in found)


def test_an_interrupted_training_keeps_what_was_best_before(tmp_path, word_tokenizer, monkeypatch):
    block = {**BLOCK, "learning_rate": 5e-3, "steps": 40, "keep": "best", "warmup_steps": 0}
    whole = make_context(tmp_path / "whole", word_tokenizer, {"retriever1": block})
    train(whole, "retriever1")
    halved = make_context(tmp_path / "halved", word_tokenizer, {"retriever1": block})
    original = Selection.look

    def interrupting(self, step, values, module):
        over = original(self, step, values, module)
        if step == 20:
            signal.raise_signal(signal.SIGTERM)
        return over

    monkeypatch.setattr(Selection, "look", interrupting)
    with pytest.raises(Interrupted):
        train(halved, "retriever1")
    monkeypatch.setattr(Selection, "look", original)
    (halved.paths.training("retriever1") / "best.safetensors").unlink()  # the checkpoint has its own
    train(halved, "retriever1")
    assert looks(halved, "retriever1") == looks(whole, "retriever1")
    assert record(halved, "retriever1")["metrics"]["kept_step"] == record(whole, "retriever1")["metrics"]["kept_step"]
    assert same(exported(halved, "retriever1"), exported(whole, "retriever1"))


def test_a_resume_that_has_run_out_of_patience_trains_no_further(tmp_path, word_tokenizer):
    context = make_context(tmp_path, word_tokenizer, {"retriever1": {**BLOCK, "keep": "best", "patience": 2}})

    job = start_job(context, "retriever1")
    values = (0.4, 0.6, 0.6, 0.5)
    selection = Selection(job, [{"step": 10 * i, MEASURE: value} for i, value in enumerate(values)])
    assert selection.best == (0.6, 10)
    assert selection.idle == 2
    assert selection.exhausted
    assert not Selection(job, [{"step": 10 * i, MEASURE: value} for i, value in enumerate(values[:3])]).exhausted


def test_a_few_hard_negatives_at_least_decide(tmp_path, word_tokenizer):
    blocks = {
        "one": {**BLOCK, "hard_negatives": 1, "keep": "best"},
        "plain": {**BLOCK, "hard_negatives": 1},
        "alone": {**BLOCK, "negatives": None, "keep": "best"},
    }
    models = make_context(tmp_path, word_tokenizer, blocks).experiment.models
    assert [models[name].pooled(hard) for name, hard in (("one", 1), ("one", 40), ("plain", 1), ("plain", 40), ("alone", 0))] == [3, 15, 1, 15, 0]


def test_nothing_of_it_lies_in_the_model(tmp_path, word_tokenizer):
    context = make_context(tmp_path, word_tokenizer, {"retriever1": {**BLOCK, "steps": 5, "keep": "best"}})
    train(context, "retriever1")
    assert not list(Path(context.paths.model("retriever1")).rglob("best*"))
