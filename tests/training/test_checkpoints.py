"""Checkpoints: whose they are, what is damaged, what comes back, and when there is one."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from simlm.cli import main
from simlm.config import load_experiment
from simlm.config.belonging import misfits
from simlm.config.inputs import inputs_of
from simlm.config.jobs import Job
from simlm.context import Context
from simlm.metering import SPEEDS
from simlm.stages.train import train
from simlm.training import checkpoints
from simlm.training.history import read_history
from simlm.training.mlm import MaskingCollator
from tests.training.test_pretraining_stages import configuration, prepare, weights


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Context:
    context, _ = prepare(tmp_path_factory.mktemp("undisturbed"))
    train(context, "base")
    return context


def same(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return all(torch.equal(one[name], other[name]) for name in one)


def curve(context: Context) -> list[dict]:
    return [{key: value for key, value in line.items() if key not in SPEEDS} for line in read_history(context.paths.history("base"))]


def flip(file: Path) -> None:
    """Another byte in the middle, the same size."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x40
    file.write_bytes(data)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt", "rng_state.pth"])
def test_a_damaged_checkpoint_is_found_and_the_one_before_resumed(undisturbed: Context, tmp_path, capsys, file: str) -> None:
    shutil.copytree(undisturbed.paths.root, tmp_path / "tiny")
    context = Context(undisturbed.experiment, type(undisturbed.paths)(tmp_path / "tiny"))
    folder = context.paths.training("base")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "release", lambda folder: None)
        train(context, "base")
    assert [path.name for path in checkpoints.checkpoints(folder)] == ["checkpoint-8", "checkpoint-12"]
    flip(folder / "checkpoint-12" / file)
    capsys.readouterr()
    train(context, "base")
    said = capsys.readouterr().err
    assert f"checkpoint-12 is damaged ({file} is not what was written) and is removed" in said
    assert "checkpoint-8." in said
    assert same(undisturbed.paths.model("base"), context.paths.model("base"))
    assert curve(undisturbed) == curve(context)


def test_a_whole_checkpoint_of_another_training_is_not_resumed(tmp_path) -> None:
    folder = tmp_path / "m"
    checkpoints.claim(folder, "a")
    for step, key in ((10, "a"), (20, "b")):
        (folder / f"checkpoint-{step}").mkdir()
        (folder / f"checkpoint-{step}" / "model.safetensors").write_bytes(b"weights")
        checkpoints.stamp(folder / f"checkpoint-{step}", key, {})
    assert checkpoints.claim(folder, "a").name == "checkpoint-10"


def test_what_was_set_aside_comes_back_when_its_settings_do(tmp_path) -> None:
    """A, B, A, B: neither is ever deleted, and each goes on with its own curve."""
    folder, history = tmp_path / "m", tmp_path / "m.history.jsonl"

    def begin(key: str) -> Path | None:
        return checkpoints.claim(folder, key, history)

    def save(key: str, step: int) -> None:
        (folder / f"checkpoint-{step}").mkdir()
        (folder / f"checkpoint-{step}" / "model.safetensors").write_text(f"{key} {step}")
        checkpoints.stamp(folder / f"checkpoint-{step}", key, {})
        history.write_text(f'{{"step": {step}, "of": "{key}"}}\n')

    assert begin("a") is None
    save("a", 10)
    assert begin("b") is None
    save("b", 20)
    for key, step in (("a", 10), ("b", 20), ("a", 10)):
        found = begin(key)
        assert found is not None
        assert (found / "model.safetensors").read_text() == f"{key} {step}"
        assert read_history(history) == [{"step": step, "of": key}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "m.history.jsonl", "m.set-aside-b"]


def test_two_folders_of_an_unknown_key_are_both_kept(tmp_path) -> None:
    folder = tmp_path / "m"
    for content in ("first", "second"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "file").write_text(content)
        checkpoints.claim(folder, "a")
    assert {path.read_text() for path in tmp_path.glob("m.set-aside-*/file")} == {"first", "second"}


def other_weights(folder: Path) -> None:
    """What another revision of a model is: the same names and shapes, other numbers."""
    state = load_file(folder / "model.safetensors")
    save_file({name: value + 0.01 for name, value in state.items()}, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_start_from_outside_with_other_weights_is_another_training(undisturbed: Context, tmp_path, capsys) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(undisturbed.paths.model("base"), outside)
    values = configuration(undisturbed.paths.root.parent)
    size = values["models"]["base"].pop("size")
    assert size
    values["models"]["more"] = values["models"]["base"] | {"init": str(outside), "steps": 4}
    values["models"]["base"]["size"] = size
    file = tmp_path / "more.yaml"
    file.write_text(yaml.safe_dump(values))
    context = Context(load_experiment(file), undisturbed.paths)
    train(context, "more", keep_checkpoint=True)
    first = weights(context.paths.model("more"))
    other_weights(outside)
    capsys.readouterr()
    train(context, "more")
    said = capsys.readouterr().err
    assert "set aside" in said
    assert "Resuming" not in said
    second = weights(context.paths.model("more"))
    assert not all(torch.equal(first[name], second[name]) for name in first)


def test_every_trainer_reads_all_files_of_a_start_from_outside(undisturbed: Context, tmp_path) -> None:
    start, generator = tmp_path / "start", tmp_path / "generator"
    for folder in (start, generator):
        shutil.copytree(undisturbed.paths.model("base"), folder)
    values = configuration(undisturbed.paths.root.parent)
    step = {"steps": 1, "batch_size": 4, "init": str(start)}
    values["models"] |= {
        "mlm": {"kind": "mlm", **step},
        "bottleneck": {"kind": "bottleneck", "generator": str(generator), **step},
        "retriever": {"kind": "biencoder", "negatives": "bm25", **step},
        "reranker": {"kind": "crossencoder", "negatives": "bm25", "lexical_hints": True, **step},
        "student": {"kind": "biencoder", "negatives": "retriever", "teacher": "reranker", **step, "init": "retriever"},
    }
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    context = Context(load_experiment(file), undisturbed.paths)
    files = {"config.json", "model.safetensors", "tokenizer.json"}
    for name in ("mlm", "bottleneck", "retriever", "reranker"):
        inputs = inputs_of(context.experiment, context.paths, Job("train", name))
        assert {f"init/{file}" for file in files} <= inputs.keys()
        assert ({f"generator/{file}" for file in files} <= inputs.keys()) == (name == "bottleneck")
        assert ("tokenizer" in inputs, "negatives" in inputs) == (name in ("mlm", "bottleneck"), name in ("retriever", "reranker"))
        assert ("bm25" in inputs) == (name == "reranker")
    paths = context.paths
    assert inputs_of(context.experiment, paths, Job("train", "student")) == {
        "corpus": paths.corpus / "manifest.json",
        "negatives": paths.negatives("retriever"),
        "teacher_scores": paths.teacher_scores("student"),
        "init": paths.model("retriever") / "simlm.json",
    }


def test_a_start_from_hugging_face_is_every_file_of_the_commit_that_is_in_the_cache(undisturbed: Context, tmp_path, monkeypatch) -> None:
    """Where the branch has moved since, the record no longer belongs, and another training begins."""
    for commit in ("old", "new"):
        shutil.copytree(undisturbed.paths.model("base"), tmp_path / commit)
    with open(tmp_path / "new/model.safetensors", "r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\x01")
    cache = {"owner/base": tmp_path / "old"}
    monkeypatch.setattr("simlm.config.inputs.cached", lambda reference, what: cache.get(reference))
    monkeypatch.setattr("simlm.hub.fetch", lambda reference, what: cache[reference])
    values = configuration(undisturbed.paths.root.parent)
    values["models"]["mlm"] = {"kind": "mlm", "init": "owner/base", "steps": 1, "batch_size": 4}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    context, job = Context(load_experiment(tmp_path / "config.yaml"), undisturbed.paths), Job("train", "mlm")
    with context.record(*job) as record:
        pass

    def found() -> list[str]:
        return [str(each) for each in misfits(context.experiment, context.paths, only=[job])]

    assert {"init/model.safetensors", "init/config.json", "init/tokenizer.json"} <= record.inputs.keys()
    assert not any(name.startswith("init") for name in inputs_of(context.experiment, context.paths, job)), "no rule can ask for what is not fetched yet"
    assert found() == []
    cache["owner/base"] = tmp_path / "new"
    assert found() == ["train.mlm (inputs: init/model.safetensors)"]
    assert context.record(*job).key != record.key
    cache.clear()
    assert found() == [], "copied to a machine without the cache"


def at_batch(monkeypatch, number: int, act) -> None:
    """Call ``act`` while batch ``number`` is made."""
    original, calls = MaskingCollator.__call__, []

    def call(self, items):
        calls.append(items)
        if len(calls) == number:
            act()
        return original(self, items)

    monkeypatch.setattr(MaskingCollator, "__call__", call)


def rare(tmp_path: Path, **settings: object) -> tuple[Context, Path]:
    """The tiny experiment with a checkpoint every 1,000 steps, of which it has 12."""
    context, file = prepare(tmp_path)
    values = yaml.safe_load(file.read_text())
    values["models"]["base"] |= {"checkpoint_steps": 1000, **settings}
    file.write_text(yaml.safe_dump(values))
    return context, file


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_a_checkpoint_and_the_training_ends_with_the_same_weights(undisturbed, tmp_path, monkeypatch, capsys, number, code) -> None:
    context, file = rare(tmp_path)
    command = ["train", "--config", str(file), "--model", "base"]
    with monkeypatch.context() as patch:
        at_batch(patch, 6, lambda: os.kill(os.getpid(), number))
        before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
        assert main(command) == code
        assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
    said = capsys.readouterr().err
    assert f"of 12: stopped by {number.name} with a checkpoint; the same command goes on from there" in said
    assert checkpoints.checkpoints(context.paths.training("base"))
    assert not (context.paths.model("base") / "simlm.json").exists()
    assert main(command) == 0
    assert "Resuming from" in capsys.readouterr().err
    assert same(undisturbed.paths.model("base"), context.paths.model("base"))
    assert curve(undisturbed) == curve(context)


def test_there_is_a_checkpoint_after_some_minutes_whatever_the_steps(undisturbed: Context, tmp_path, monkeypatch) -> None:
    context, file = rare(tmp_path, checkpoint_minutes=1e-9)
    command = ["train", "--config", str(file), "--model", "base"]

    def die() -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        at_batch(patch, 7, die)
        assert main(command) == 2
    assert len(checkpoints.checkpoints(context.paths.training("base"))) == 2
    assert main(command) == 0
    assert same(undisturbed.paths.model("base"), context.paths.model("base"))
    assert curve(undisturbed) == curve(context)
