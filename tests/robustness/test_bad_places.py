"""Places that take nothing or give nothing: full and read-only disks, no network, losses that are no numbers."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
from pathlib import Path

import pytest
from small_world import RESULTS_NAME, write_configuration

from simlm.cli import main

C = ["--config", "config.yaml"]
WRITERS = [
    ["prepare-corpus"], ["train-tokenizer"], ["index-bm25"], ["search-bm25"], ["search-bm25", "--splits", "train"],
    ["mine-negatives", "--model", "bm25"], ["train", "--model", "base"],
    ["score-teacher", "--model", "student"], ["train", "--model", "student"], ["encode", "--model", "student"], ["build-index", "--model", "student"],
    ["search-index", "--model", "student"], ["rerank", "--model", "reranker"], ["fuse", "--model", "fusion"], ["evaluate"], ["compare-systems"], ["report"],
]  # fmt: skip


class Disk:
    """A small file system of its own at ``folder``."""

    def __init__(self, folder: Path, size: str) -> None:
        self.folder = folder
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True, capture_output=True)

    def fill(self, spare: int = 0) -> None:
        """Leave ``spare`` bytes."""
        with open(self.folder / "filler", "wb", buffering=0) as stream:
            try:
                while True:
                    stream.write(bytes(4096))
            except OSError:
                pass
            stream.truncate(max(0, stream.seek(0, os.SEEK_END) - spare))

    def free(self) -> None:
        (self.folder / "filler").unlink()

    def lock(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", self.folder], check=True, capture_output=True)

    def close(self) -> None:
        subprocess.run(["umount", "-l", self.folder], check=True, capture_output=True)


@pytest.fixture
def disk(place):
    """The experiment's results on a disk of 32 MiB; its place is ``full/`` instead of ``results/``."""
    try:
        made = Disk(place.root / "full", "32m")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system cannot be mounted here ({error})")
    try:
        subprocess.run(["cp", "-a", str(place.root / "results" / RESULTS_NAME), str(made.folder)], check=True)
        yield made
    finally:
        made.close()


def test_a_full_disk(place, disk, refused):
    for file in (disk.folder / RESULTS_NAME / "embeddings" / "student").iterdir():
        file.unlink()
    disk.fill()
    for command in WRITERS:
        if command[0] == "build-index":
            continue  # it has nothing to read before the embedding can be written
        sentence = refused(place, *command, *C, "--results", "full", but=("full/tiny/embeddings/student/.",))
        assert "free space" in sentence, sentence
        assert "full/tiny" in sentence, sentence
    disk.free()
    assert main(["encode", "--model", "student", *C, "--results", "full"]) == 0
    disk.fill()
    assert "free space" in refused(place, "build-index", "--model", "student", *C, "--results", "full")


def test_a_disk_that_fills_up_while_a_checkpoint_is_written(place, disk, refused):
    disk.fill(spare=6 * 4096)
    sentence = refused(place, "train", "--model", "base", *C, "--results", "full", but=("full/tiny/training/base",))
    assert "free space and run the command again" in sentence
    disk.free()
    assert main(["train", "--model", "base", *C, "--results", "full"]) == 0


def test_a_read_only_disk(place, disk, refused):
    disk.lock()
    for command in WRITERS:
        sentence = refused(place, *command, *C, "--results", "full")
        assert "Read-only file system" in sentence, sentence


def test_a_file_where_a_folder_should_be(place, refused):
    (place.root / "file").touch()
    assert "file" in refused(place, "prepare-corpus", *C, "--results", "file")


@pytest.fixture
def no_network(monkeypatch):
    """Every connection goes to a proxy that is not there; nobody waits before trying again."""
    import huggingface_hub.utils._http as hub

    monkeypatch.setattr(hub.time, "sleep", lambda seconds: None)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    hub.close_session()
    yield
    # The process would keep a client with these proxies for the tests after this one.
    hub.close_session()


def test_no_network_and_ids_that_do_not_exist(place, refused, no_network):
    def change(values):
        values["models"]["retriever"]["init"] = "nobody/no-such-model"
        values["tokenizer"] = {"init": "nobody/no-such-model@v1"}

    write_configuration(place.root, change)
    for command in (["train", "--model", "retriever"], ["train-tokenizer"]):
        sentence = refused(place, *command, *C)
        assert "nobody/no-such-model" in sentence
        assert "could not be fetched from Hugging Face" in sentence
        assert "fetch it where there is a network" in sentence or "give the folder of a download" in sentence


def test_an_id_that_is_no_id(place, refused):
    write_configuration(place.root, lambda values: values["models"]["retriever"].update(init="./nowhere"))
    assert "./nowhere does not exist" in refused(place, "train", "--model", "retriever", *C)


@pytest.mark.parametrize("model", ["base", "retriever", "reranker"])
def test_losses_that_are_no_numbers(place, refused, model):
    def change(values):
        values["models"][model] |= {"learning_rate": 1e38, "steps": 8, "max_grad_norm": 1e38}

    write_configuration(place.root, change)
    sentence = refused(place, "train", "--model", model, *C, but=("results/tiny/training",))
    assert f"{model}: the loss is" in sentence
    assert "lower learning_rate" in sentence


def test_vectors_that_are_no_numbers(place, refused):
    import torch
    from safetensors.torch import load_file, save_file

    from simlm.files import sha256_file

    folder = place.paths.model("student")
    weights = {name: torch.full_like(value, float("nan")) for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    manifest = json.loads((folder / "simlm.json").read_text())
    manifest["weights"]["sha256"] = sha256_file(folder / "model.safetensors")
    (folder / "simlm.json").write_text(json.dumps(manifest))
    kept = ("results/tiny/embeddings/student/",)
    assert "not numbers (NaN)" in refused(place, "encode", "--model", "student", "--shard", "2", *C, but=kept)
    assert not list(place.paths.embeddings("student").glob("2-of-2.json")), "no manifest, so nothing that a search would read"


class Owned:
    """Unpickling it leaves a file."""

    def __reduce__(self):
        return os.system, ("touch owned",)


@pytest.fixture
def checkpoint(place, monkeypatch):
    """A training that was stopped after its last checkpoint, before the model was exported."""
    from simlm.errors import UserError
    from simlm.training import job

    def stopped(*_, **__):
        raise UserError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(job, "save_model", stopped)
        assert main(["train", "--model", "retriever", *C]) == 2
    folder = place.paths.training("retriever")
    # A step is left to do, or the random state would not be read.
    shutil.rmtree(folder / "checkpoint-2")
    return folder / "checkpoint-1"


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_checkpoint_from_elsewhere_runs_no_code(place, refused, checkpoint, name):
    from simlm.training import checkpoints

    file = checkpoint / name
    size = file.stat().st_size
    payload = pickle.dumps(Owned())
    file.write_bytes(payload + bytes(max(0, size - len(payload))))
    # Whoever can write the file can write its digest too.
    checkpoints.stamp(checkpoint, checkpoints.read_stamp(checkpoint)["key"], {})
    sentence = refused(place, "train", "--model", "retriever", *C, but=("results/tiny/training",))
    assert "is damaged or foreign" in sentence
    assert checkpoint.name in sentence
    assert not (place.root / "owned").exists()
    assert pickle.loads(payload) == 0
    assert (place.root / "owned").exists(), "the payload does work where pickles are trusted"
