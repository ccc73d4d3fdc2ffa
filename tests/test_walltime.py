"""A job knows when it will be killed, and one stage runs once at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from simlm.errors import OutOfTime
from simlm.files import atomic_file, atomic_folder
from simlm.records.record import only_one
from simlm.walltime import VARIABLE, Clock, end_of_job

HOLD = """
import sys, time
from pathlib import Path
from simlm.records.record import only_one
lock = only_one(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_the_end_is_what_was_set_or_what_the_batch_system_says(tmp_path):
    assert end_of_job({VARIABLE: "1234", "PBS_JOBID": "1"}, 10, now=0.0) == 1234
    for name in ("LSB_JOBID", "PBS_JOBID", "SGE_TASK_ID", "SIMLM_BATCH_JOB"):
        assert end_of_job({name: "1"}, 10, now=60.0) == 660
    assert end_of_job({"PBS_JOBID": "1"}, None) is None
    assert end_of_job({}, 10) is None
    assert end_of_job({"SLURM_JOB_ID": "1", "SLURM_JOB_END_TIME": "99"}, 10) == 99


@pytest.mark.parametrize(("answer", "end"), [("2026-11-25T18:00:00", True), ("N/A", None), ("NONE", None), ("", None)])
def test_slurm_is_asked_for_the_end(tmp_path, monkeypatch, answer, end):
    (tmp_path / "squeue").write_text(f'#!/bin/sh\n[ "$*" = "--noheader --jobs 7 --format %e" ] && echo "{answer}"\n')
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = end_of_job({"SLURM_JOB_ID": "7"}, 10)
    assert found == (time.mktime((2026, 11, 25, 18, 0, 0, 0, 0, -1)) if end else None)


def test_a_clock_keeps_time_for_one_more_piece():
    now = time.time()
    assert not Clock(None).is_over()
    assert not Clock(now + 100, reserve=10).is_over()
    assert Clock(now + 9, reserve=10).is_over()
    clock = Clock(now + 100, reserve=10)
    clock.longest = 60.0  # the next piece may take as long
    assert clock.is_over()
    with pytest.raises(OutOfTime, match="half: stopped before the end of the job's wall time; everything so far is saved"):
        clock.check("half")
    assert [Clock(now + left).reserve for left in (60, 3600, 86400)] == pytest.approx([10, 180, 300], rel=0.01)


def test_a_second_process_waits_for_the_first_however_that_ends(tmp_path, capsys):
    path = tmp_path / ".stage.lock"
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "held\n"
    second = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert "Another process runs this stage" in second.stderr.readline()
        first.kill()
        assert second.stdout.readline() == "held\n"
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()


def test_waiting_ends_with_the_jobs_time(tmp_path, monkeypatch):
    held = only_one(tmp_path / ".train.m.lock")
    monkeypatch.setenv(VARIABLE, str(time.time() + 5))
    monkeypatch.setattr("filelock.FileLock.acquire", _impatient(type(held).acquire))
    with pytest.raises(OutOfTime, match="train"):
        only_one(tmp_path / ".train.m.lock")
    held.release()


def _impatient(acquire):
    return lambda self, timeout=None, **options: acquire(self, timeout=0.1 if timeout else timeout, **options)


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    program = "import os, sys; from simlm.files import atomic_file\nwith atomic_file(sys.argv[1]): os.kill(os.getpid(), 9)"
    for name in ("table", "other"):
        assert subprocess.run([sys.executable, "-c", program, str(tmp_path / name)]).returncode == -9
    folder = "import os, sys; from simlm.files import atomic_folder\nwith atomic_folder(sys.argv[1]): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", folder, str(tmp_path / "model")]).returncode == -9
    assert len(list(tmp_path.iterdir())) == 3
    with atomic_file(tmp_path / "table") as temporary:
        temporary.write_text("1")
        with atomic_file(tmp_path / "table") as another:
            another.write_text("2")
        assert temporary.exists()
    with atomic_folder(tmp_path / "model"):
        pass
    assert sorted(path.name.split(".")[1] if path.name.startswith(".") else path.name for path in tmp_path.iterdir()) == ["model", "other", "table"]
