"""The pre-training stages on a small real corpus: what they learn, what they write, how they resume."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from simlm.config import load_experiment
from simlm.context import Context
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.errors import UserError
from simlm.metering import SPEEDS
from simlm.paths import Paths
from simlm.records.record import stage_key
from simlm.stages.train import train
from simlm.stages.train_tokenizer import train_tokenizer
from simlm.text.token_cache import TokenCache
from simlm.text.vocabulary import Vocabulary
from simlm.training.history import read_history

SMALL = {"layers": 3, "hidden": 16, "heads": 2, "intermediate": 32, "positions": 48, "dropout": 0.1}


def configuration(folder: Path, **simlm: object) -> dict:
    training = {"steps": 12, "batch_size": 8, "learning_rate": 2e-3, "max_length": 32, "threads": 1, "log_steps": 3, "checkpoint_steps": 4}
    return {
        "name": "tiny",
        "results": str(folder),
        "precision": "fp32",
        "corpus": {"source": "beir", "path": "unused", "splits": {"train": "train", "dev": "dev"}},
        "tokenizer": {"vocabulary": 300},
        "models": {
            "base": {"kind": "mlm", "size": SMALL, **training},
            "generator": {"kind": "mlm", "size": {**SMALL, "layers": 1}, **training},
            "simlm": {
                "kind": "bottleneck", "init": "base", "generator": "generator", "holdout": 10,
                "probe": {"every_steps": 6, "split": "dev", "queries": 5, "passages": 30}, **training, **simlm,
            },
        },
        "evaluate": {"systems": ["bm25"], "splits": {"dev": {}}, "main_split": "dev"},
    }  # fmt: skip


def prepare(folder: Path, **simlm: object) -> tuple[Context, Path]:
    """A corpus, a vocabulary and a configuration below ``folder``."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(configuration(folder, **simlm)))
    experiment = load_experiment(file)
    paths = Paths(folder / "tiny")
    draw = np.random.default_rng(0)
    words = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(120)]
    passages = [(f"p{i}", words[i], " ".join(draw.choice(words, 20))) for i in range(90)]
    queries = [(f"q{i}", f"find {words[i]}") for i in range(20)]
    qrels = [(f"q{i}", f"p{i}", 1) for i in range(20)]
    splits = {"train": (queries[:10], qrels[:10]), "dev": (queries[10:], qrels[10:])}
    write_corpus(paths.corpus, passages, splits, {"source": "test"})
    context = Context(experiment, paths)
    train_tokenizer(context)
    return context, file


def train_all(context: Context, *names: str) -> None:
    for name in names:
        train(context, name)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Context:
    context, _ = prepare(tmp_path_factory.mktemp("trained"))
    train_all(context, "base", "generator", "simlm")
    return context


def test_models_open_in_transformers_and_keep_the_decoder(trained: Context) -> None:
    from safetensors.torch import load_file
    from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

    folder = trained.paths.model("simlm")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.model_max_length == 48
    encoded = tokenizer("-", "wordaa wordab", return_tensors="pt")
    assert encoded["token_type_ids"].tolist()[0].count(1) >= 3
    assert AutoModel.from_pretrained(folder)(**encoded).last_hidden_state.shape[-1] == 16
    assert AutoModelForMaskedLM.from_pretrained(folder)(**encoded).logits.shape[-1] == len(tokenizer)
    decoder = load_file(folder / "bottleneck.safetensors")
    assert {name.split(".")[1] for name in decoder} == {"0", "1"}
    assert not torch.equal(decoder["decoder.1.attention.self.query.weight"], weights(folder)["bert.encoder.layer.2.attention.self.query.weight"])


def test_history_has_losses_rates_and_the_probe(trained: Context) -> None:
    lines = read_history(trained.paths.history("simlm"))
    losses = [line for line in lines if "loss" in line]
    assert [line["step"] for line in losses] == [3, 6, 9, 12]
    assert all(
        {"encoder_loss", "decoder_loss", "learning_rate", "grad_norm", "tokens_per_second", "padded_tokens_per_second", "waited"} <= line.keys()
        for line in losses
    )
    assert losses[-1]["loss"] == pytest.approx(losses[-1]["encoder_loss"] + losses[-1]["decoder_loss"], rel=1e-4)
    probes = [line for line in lines if "probe/RR@10" in line]
    assert [line["step"] for line in probes] == [6, 12]
    assert {"held_out/encoder_loss", "held_out/decoder_loss", "probe/R@50"} <= probes[0].keys()
    assert losses[-1]["loss"] < losses[0]["loss"]


def test_record_says_how_busy_the_device_was(trained: Context) -> None:
    record = json.loads(trained.paths.record("train.base").read_text())
    metrics, lines = record["metrics"], [line for line in read_history(trained.paths.history("base")) if "loss" in line]
    for name in ("tokens_per_second", "padded_tokens_per_second", "waited"):
        assert metrics[name] == pytest.approx(float(np.median([line[name] for line in lines])), abs=1e-3)
    assert metrics["padding"] == pytest.approx(1 - metrics["tokens_per_second"] / metrics["padded_tokens_per_second"], abs=1e-3)
    assert 0 <= metrics["waited"] < 1
    assert "peak_share" not in metrics, "what a processor's peak is, nobody says"
    digests = {name: entry["sha256"] for name, entry in record["inputs"].items()}
    assert record["key"] == stage_key(record["stage"], record["settings"], digests), "it is no part of what the model is known by"


def test_the_history_ends_with_the_training(tmp_path) -> None:
    context, _ = prepare(tmp_path)
    block = context.experiment.models["base"]
    context.experiment.models["base"] = block.model_copy(update={"steps": 5})  # log_steps is 3
    train(context, "base")
    lines = read_history(context.paths.history("base"))
    assert [line["step"] for line in lines] == [3, 5]
    assert json.loads(context.paths.record("train.base").read_text())["metrics"]["loss"] == lines[-1]["loss"]


def test_generator_stays_frozen_and_checkpoints_go(trained: Context) -> None:
    assert not (trained.paths.model("simlm") / "generator").exists()
    assert not list(trained.paths.training("simlm").glob("checkpoint-*"))


def test_continued_pretraining_takes_the_decoder_along(trained: Context, tmp_path) -> None:
    from simlm.models.loading import load_tokenizer
    from simlm.training.bottleneck import build

    values = configuration(trained.paths.root.parent)
    values["models"]["more"] = {**values["models"]["simlm"], "init": "simlm"}
    file = tmp_path / "more.yaml"
    file.write_text(yaml.safe_dump(values))
    context = Context(load_experiment(file), trained.paths)
    model = build(context, "more", load_tokenizer(trained.paths.tokenizer))
    from safetensors.torch import load_file

    saved = load_file(trained.paths.model("simlm") / "bottleneck.safetensors")
    for name, value in model.decoder.state_dict().items():
        assert torch.equal(value, saved[f"decoder.{name}"])


def test_training_twice_gives_the_same_weights(trained: Context, tmp_path) -> None:
    context, _ = prepare(tmp_path)
    train(context, "base")
    first, second = weights(trained.paths.model("base")), weights(context.paths.model("base"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_probe_changes_no_weight_and_no_key(trained: Context, tmp_path) -> None:
    """It is no reason to train again, so a training without it must be the same training."""
    values = configuration(trained.paths.root.parent)
    values["models"]["other"] = values["models"]["simlm"] | {"probe": None}
    file = tmp_path / "unprobed.yaml"
    file.write_text(yaml.safe_dump(values))
    context = Context(load_experiment(file), trained.paths)
    train(context, "other")
    first, second = (weights(trained.paths.model(name)) for name in ("simlm", "other"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    records = [json.loads(trained.paths.record(f"train.{name}").read_text())["settings"] for name in ("simlm", "other")]
    assert records[0] == records[1]
    assert "probe" not in records[0]


AUTHORS = yaml.safe_load((Path(__file__).parents[2] / "config" / "authors-code.yaml").read_text())["models"]["simlm"]


@pytest.mark.parametrize(
    "change",
    [
        {"train_generator": True},
        {"label_fraction": 0.25},
        {"warmup_steps": 4, "warmup_shape": "logarithmic"},
        {"probe": None},
        AUTHORS | {"micro_batch_size": 4, "train_generator": True},
    ],
)
def test_options_of_pretraining_run(trained: Context, tmp_path, change: dict) -> None:
    values = configuration(trained.paths.root.parent, **change)
    values["models"]["other"] = values["models"]["simlm"] | {"steps": 4}
    file = tmp_path / "options.yaml"
    file.write_text(yaml.safe_dump(values))
    context = Context(load_experiment(file), trained.paths)
    train(context, "other")
    assert (context.paths.model("other") / "generator").exists() == ("train_generator" in change)


def test_killed_training_goes_on_and_ends_with_the_same_weights(trained: Context, tmp_path) -> None:
    """SIGKILL in the middle, twice; the final weights are those of the uninterrupted run, bit for bit."""
    context, file = prepare(tmp_path)
    for name in ("base", "generator"):
        train(context, name)
    folder = context.paths.training("simlm")
    command = [sys.executable, "-m", "simlm.cli", "train", "--config", str(file), "--model", "simlm"]
    for step in (4, 8):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        deadline = time.monotonic() + 120
        while not (folder / f"checkpoint-{step}" / "trainer_state.json").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, capture_output=True)
    first, second = weights(trained.paths.model("simlm")), weights(context.paths.model("simlm"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    steps = [line["step"] for line in read_history(context.paths.history("simlm")) if "loss" in line]
    assert steps == [3, 6, 9, 12]


def test_a_training_stops_before_its_job_ends_and_goes_on_to_the_same_weights(trained: Context, tmp_path, monkeypatch, capsys) -> None:
    """Stopped after every step, so that a stop falls between two points of the curve and beside an evaluation."""
    from simlm.cli import main

    context, file = prepare(tmp_path)
    command = ["train", "--config", str(file), "--model", "base"]
    monkeypatch.setenv("SIMLM_END_TIME", str(time.time() + 5))
    for step in range(1, 6):
        assert main(command) == 75
        assert f"simlm train: base, step {step} of 12: stopped before the end of the job's wall time" in capsys.readouterr().err
    monkeypatch.delenv("SIMLM_END_TIME")
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "Resuming from" in said
    assert re.search(r"^base 9/12 \(75%\)  \d+ s to go  loss ", said, re.MULTILINE), said
    assert re.search(r"^base 12/12 \(100%\)  loss ", said, re.MULTILINE), "there is nothing to go at the end"
    first, second = weights(trained.paths.model("base")), weights(context.paths.model("base"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    curves = [read_history(paths.history("base")) for paths in (trained.paths, context.paths)]
    for curve in curves:
        for line in curve:
            for name in SPEEDS:
                line.pop(name, None)
    assert curves[0] == curves[1]


def test_a_finished_training_that_is_asked_for_again_is_only_exported(trained: Context, tmp_path, capsys) -> None:
    """What a workflow does that was killed and did not see the end of the job: the manifest and the record are deleted."""
    context, _ = prepare(tmp_path)
    train(context, "base", keep_checkpoint=True)
    first = weights(context.paths.model("base"))
    (context.paths.model("base") / "simlm.json").unlink()
    before = context.paths.record("train.base").read_text()
    context.paths.record("train.base").unlink()
    capsys.readouterr()
    train(context, "base")
    assert "checkpoint-12" in capsys.readouterr().err
    second = weights(context.paths.model("base"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    metrics = [json.loads(text)["metrics"] for text in (before, context.paths.record("train.base").read_text())]
    assert {**metrics[0], "train_seconds": 0} == {**metrics[1], "train_seconds": 0}
    assert not context.paths.training("base").exists()


def test_tokenized_corpus_is_what_the_tokenizer_says(trained: Context) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(trained.paths.tokenizer)
    store = CorpusStore(trained.paths.corpus)
    passages = TokenCache(store, tokenizer, 32, trained.paths.tokens).whole()
    titles, texts = store.texts([5])
    assert passages[5].tolist() == tokenizer(titles[0], texts[0], truncation=True, max_length=32)["input_ids"]
    vocabulary = Vocabulary.of(tokenizer)
    assert vocabulary.special.sum() == 4  # [UNK] counts as a word


def test_model_of_another_vocabulary_is_refused(trained: Context, tmp_path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    BertForMaskedLM(BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)).save_pretrained(
        tmp_path / "other"
    )
    values = configuration(trained.paths.root.parent)
    values["models"]["bad"] = values["models"]["simlm"] | {"generator": str(tmp_path / "other")}
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match="50 token embeddings"):
        train(Context(load_experiment(file), trained.paths), "bad")
    assert not (trained.paths.model("bad")).exists()


def test_diverging_loss_is_one_sentence(trained: Context, tmp_path) -> None:
    values = configuration(trained.paths.root.parent)
    values["models"]["wild"] = values["models"]["base"] | {"learning_rate": 1e30}
    file = tmp_path / "wild.yaml"
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=r"wild: the loss is .* lower learning_rate"):
        train(Context(load_experiment(file), trained.paths), "wild")
