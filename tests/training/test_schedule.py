"""Order of examples and learning rates, against transformers' own schedule and hand-computed values."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import get_constant_schedule_with_warmup, get_linear_schedule_with_warmup

from simlm.training import checkpoints
from simlm.training.history import History, read_history
from simlm.training.schedule import Schedule, learning_rate_factor, total_steps


def test_every_epoch_is_a_permutation_and_depends_on_the_seed() -> None:
    def order(seed: int) -> list[tuple[int, int]]:
        schedule = Schedule(10, 30, seed, lambda epoch, index: (epoch, index))
        return [schedule[i] for i in range(30)]

    first = order(1)
    for epoch in range(3):
        assert sorted(first[epoch * 10 : epoch * 10 + 10]) == [(epoch, i) for i in range(10)]
    assert first[:10] != [(0, i) for _, i in first[10:20]]
    assert first == order(1) != order(2)


def test_access_in_any_order_gives_the_same() -> None:
    schedule = Schedule(7, 21, 3, lambda epoch, index: (epoch, index))
    forward = [schedule[i] for i in range(21)]
    backward = [schedule[i] for i in reversed(range(21))]
    assert forward == backward[::-1]


@pytest.mark.parametrize(("epochs", "steps", "expected"), [(3, None, 5), (0.1, None, 1), (None, 77, 77)])
def test_total_steps(epochs: float | None, steps: int | None, expected: int) -> None:
    assert total_steps(SimpleNamespace(epochs=epochs, steps=steps, batch_size=64), examples=100) == expected


@pytest.mark.parametrize("warmup", [0, 1, 10])
def test_linear_is_the_schedule_of_transformers(warmup: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_linear_schedule_with_warmup(optimizer, warmup, 50)
    for step in range(50):
        assert learning_rate_factor(step, warmup=warmup, total=50, shape="linear") == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("warmup", [0, 10])
def test_without_decay_it_is_transformers_constant_rate_with_warmup(warmup) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_constant_schedule_with_warmup(optimizer, warmup)
    for step in range(50):
        assert learning_rate_factor(step, warmup=warmup, total=50, shape="linear", decay="none") == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def test_logarithmic_warmup() -> None:
    values = [learning_rate_factor(step, warmup=100, total=1000, shape="logarithmic") for step in (0, 9, 99, 100, 1000)]
    assert values == pytest.approx([0.0, math.log(10) / math.log(100), 1.0, 1.0, 0.0])


def test_checkpoints_of_another_key_are_set_aside(tmp_path) -> None:
    folder = tmp_path / "m"
    assert checkpoints.claim(folder, "a") is None
    for step in (10, 20, 30, 40):
        (folder / f"checkpoint-{step}").mkdir()
        (folder / f"checkpoint-{step}" / "model.safetensors").write_bytes(b"weights")
        if step != 20:  # killed before its last file
            checkpoints.stamp(folder / f"checkpoint-{step}", "a", {})
    (folder / "checkpoint-30" / "model.safetensors").write_bytes(b"weigh")  # a power cut before the disk had it all
    (folder / "checkpoint-40" / "model.safetensors").unlink()
    assert checkpoints.claim(folder, "a").name == "checkpoint-10"
    assert [path.name for path in checkpoints.checkpoints(folder)] == ["checkpoint-10"]
    assert checkpoints.claim(folder, "b") is None
    assert (tmp_path / "m.set-aside-a" / "checkpoint-10").exists()


def test_history_drops_steps_after_the_checkpoint_and_a_torn_line(tmp_path) -> None:
    path = tmp_path / "h.jsonl"
    history = History(path, 0)
    for step in (10, 20, 30):
        history.add(step, {"loss": step / 10})
    with open(path, "a") as stream:
        stream.write('{"step": 40, "lo')
    resumed = History(path, 20)
    resumed.add(30, {"loss": 9.0})
    assert [(line["step"], line["loss"]) for line in read_history(path)] == [(10, 1.0), (20, 2.0), (30, 9.0)]


def test_sorting_by_length_changes_the_order_within_a_step_alone():
    lengths = np.random.default_rng(5).integers(3, 144, 50)
    plain, by_length = (Schedule(50, 160, 7, lambda epoch, index: (epoch, index), own, step=16, micro=2, processes=2) for own in (None, lengths))
    for first in range(0, 160, 16):
        step = [by_length[item] for item in range(first, first + 16)]
        assert sorted(step) == sorted(plain[item] for item in range(first, first + 16))


def test_processes_get_micro_batches_of_like_lengths_and_about_as_much_to_do():
    lengths = np.random.default_rng(6).integers(3, 144, 1000)
    schedule = Schedule(1000, 256, 1, lambda _, index: int(lengths[index]), lengths, step=256, micro=8, processes=4)
    taken = [schedule[item] for item in range(256)]
    micro_batches = [taken[first : first + 8] for first in range(0, 256, 8)]
    padded = [max(batch) for batch in micro_batches]
    assert sum(padded) * 8 < 1.1 * sum(taken)
    # The loader gives process p the micro-batches p, p + 4, and so on.
    shares = [sum(padded[process::4]) for process in range(4)]
    assert max(shares) < 1.03 * min(shares)
