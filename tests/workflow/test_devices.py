"""Jobs side by side never share a device, whatever order they come and go in."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from simlm.devices import environment_for, program_for
from simlm.errors import UserError

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


def test_slurm_hands_out_devices_itself(tmp_path):
    environment = {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "5"}
    assert environment_for(1, environment, tmp_path) == environment
    assert environment_for(0, environment, tmp_path) == environment


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
