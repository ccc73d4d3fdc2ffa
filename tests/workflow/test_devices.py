"""Jobs side by side never share a device, whatever order they come and go in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import pytest

from simlm.devices import environment_for, program_for
from simlm.errors import UserError
from simlm.locks import LockFolder, Waiting

HOLD = """
import os, sys, time
from pathlib import Path
from simlm.devices import environment_for, program_for
found = environment_for(int(sys.argv[2]), os.environ, Path(sys.argv[1]))["CUDA_VISIBLE_DEVICES"]
print(found, time.time(), flush=True)
time.sleep(float(sys.argv[3]))
print("end", time.time(), flush=True)
"""


def start(folder, gpus, seconds):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "0,1,2"}
    environment.pop("SLURM_JOB_ID", None)
    return subprocess.Popen([sys.executable, "-c", HOLD, str(folder), str(gpus), str(seconds)], stdout=subprocess.PIPE, text=True, env=environment)


def test_devices_are_never_shared(tmp_path):
    jobs = [start(tmp_path, gpus, 0.7) for gpus in (1, 2, 2, 1, 3)]
    spans = []
    for job in jobs:
        first, last = job.communicate(timeout=60)[0].splitlines()
        names, begin = first.split()
        spans += [(name, float(begin), float(last.split()[1])) for name in names.split(",")]
    assert len(spans) == 9
    for i, (name, begin, end) in enumerate(spans):
        for other, start_other, end_other in spans[i + 1 :]:
            assert name != other or end <= start_other + 0.05 or end_other <= begin + 0.05


def test_a_killed_job_frees_its_device(tmp_path):
    job = start(tmp_path, 3, 60)
    assert job.stdout.readline().startswith("0,1,2")
    job.kill()
    job.wait()
    begin = time.monotonic()
    assert environment_for(1, {"CUDA_VISIBLE_DEVICES": "2"}, tmp_path)["CUDA_VISIBLE_DEVICES"] == "2"
    assert time.monotonic() - begin < 5


def test_a_job_inside_an_allocation_sees_what_it_asked_for(tmp_path):
    """Four devices of one allocation and jobs side by side in it; another allocation's devices may have the same numbers."""
    allocation = {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    assert environment_for(0, allocation, tmp_path)["CUDA_VISIBLE_DEVICES"] == ""
    assert environment_for(1, allocation, tmp_path)["CUDA_VISIBLE_DEVICES"] == "0"
    assert environment_for(2, allocation, tmp_path)["CUDA_VISIBLE_DEVICES"] == "1,2"
    assert environment_for(1, {**allocation, "SLURM_JOB_ID": "8"}, tmp_path)["CUDA_VISIBLE_DEVICES"] == "0"
    whole = {"SLURM_JOB_ID": "9", "CUDA_VISIBLE_DEVICES": "5"}
    assert environment_for(1, whole, tmp_path) == whole
    with pytest.raises(UserError, match="5 GPUs were asked for, but this machine offers 4"):
        environment_for(5, allocation, tmp_path)


def test_a_foreign_folder_of_locks_is_refused_and_nothing_is_followed(tmp_path):
    mine, asked = tmp_path / "mine", {"CUDA_VISIBLE_DEVICES": "0"}
    mine.write_text("precious")

    linked = tmp_path / "linked"
    linked.symlink_to(tmp_path)
    with pytest.raises(UserError, match="is a symbolic link; remove it, or set TMPDIR"):
        environment_for(1, asked, linked)
    writable = tmp_path / "writable"
    writable.mkdir()
    writable.chmod(0o777)
    with pytest.raises(UserError, match="can be written to by others"):
        environment_for(1, asked, writable)
    if os.getuid() == 0:
        foreign = tmp_path / "foreign"
        foreign.mkdir(mode=0o755)
        os.chown(foreign, 12345, 12345)
        with pytest.raises(UserError, match="belongs to somebody else"):
            environment_for(1, asked, foreign)

    for name in ("all.lock", "0.lock"):
        for trap in (lambda path: path.symlink_to(mine), lambda path: path.hardlink_to(mine), os.mkfifo):
            folder = tmp_path / f"{name}-{id(trap)}"
            folder.mkdir(mode=0o700)
            trap(folder / name)
            with pytest.raises(UserError, match=re.escape(f"{folder}/{name}")):
                environment_for(1, asked, folder)
    assert mine.read_text() == "precious"
    assert environment_for(1, asked, tmp_path / "new" / "one")["CUDA_VISIBLE_DEVICES"] == "0"
    assert (tmp_path / "new" / "one").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["all", "0"])
def test_a_held_lock_says_that_it_waits_and_for_whom(tmp_path, name):
    with LockFolder(tmp_path / "locks") as locks:
        handle = locks.take(name)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "0"}
    job = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "locks"), "1", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    said = job.stderr.readline()
    assert said.startswith("Waiting for 1 of the devices 0")
    assert f"process {os.getpid()}" in said
    os.close(handle)
    assert job.communicate(timeout=30)[0].startswith("0 ")
    assert job.returncode == 0


def test_a_wait_is_told_once_and_again_when_it_changes(capsys, monkeypatch):
    waiting = Waiting()
    for _ in range(3):
        waiting.tell(lambda: "for one")
    waiting.tell(lambda: "for another")
    assert capsys.readouterr().err == "for one\nfor another\n"
    monkeypatch.setattr("simlm.locks.REMINDER", 0.0)
    waiting.tell(lambda: "for another")
    assert capsys.readouterr().err == "for another\n"


def test_none_asked_for_none_seen(tmp_path):
    assert environment_for(0, {"CUDA_VISIBLE_DEVICES": "0"}, tmp_path)["CUDA_VISIBLE_DEVICES"] == ""


def test_more_than_there_are_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="2 GPUs were asked for, but this machine offers 1"):
        environment_for(2, {"CUDA_VISIBLE_DEVICES": "0"}, tmp_path)


def test_the_command_runs_with_its_arguments():
    done = subprocess.run([sys.executable, "-m", "simlm.devices", "--gpus", "0", "--", "train", "--model"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "simlm train" in done.stderr


def test_processes_share_the_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    program, environment = program_for(2, {})
    assert program[1:] == ["-m", "simlm.launch", "--processes", "2", "--"]
    assert environment["OMP_NUM_THREADS"] == "1"
    assert program_for(1, {}) == ([sys.executable, "-m", "simlm.cli"], {})


@pytest.mark.slow
def test_the_exit_code_of_several_processes_is_that_of_the_command():
    command = [sys.executable, "-m", "simlm.devices", "--gpus", "0", "--processes", "2", "--", "train", "--config", "no-such-file.yaml", "--model", "m"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "simlm train: " in done.stderr
    assert "no-such-file.yaml" in done.stderr
    assert "Traceback" not in done.stderr
