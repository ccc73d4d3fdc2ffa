"""Several processes of one job: nobody else can speak to them, they end together, and the exit code is the command's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from simlm import processes
from simlm.cli import main
from simlm.errors import UserError

HERE = Path(__file__)
START = "import sys; from simlm.launch import run; sys.exit(run([sys.executable, *sys.argv[1:]], 2))"

MEET = """
import os, sys, time
import torch
from torch import distributed
from simlm import processes

processes.join()
total = torch.tensor([processes.rank() + 1.0])
distributed.all_reduce(total)
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 1))
model(torch.ones(1, 2)).sum().backward()
said = processes.from_main({"names": ["a", None, 2.5]} if processes.is_main() else None)
assert (total.item(), said) == (3.0, {"names": ["a", None, 2.5]})
os.write(1, b"met\\n")  # in one piece, also where Python's output is not buffered
time.sleep(float(sys.argv[1]))
"""


def launch(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", START, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def said(job: subprocess.Popen, line: str) -> None:
    """Wait until both processes have said a line."""
    for _ in "01":
        assert job.stdout.readline() == f"{line}\n", job.communicate(timeout=60)[1]


def test_processes_listen_on_the_loopback_interface_alone():
    environment = {**os.environ, "MASTER_ADDR": "0.0.0.0", "GLOO_SOCKET_IFNAME": ""}
    job = launch("-c", MEET, "60", environment=environment)
    try:
        said(job, "met")
        family = [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]
        assert len(family) == 3
        sockets = [socket for process in family for socket in process.net_connections("inet") if socket.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)]
        assert {socket.laddr.ip for socket in sockets} <= {"127.0.0.1", "::1"}
        meeting = Path(family[1].environ()[processes.MEETING])
        assert meeting.parent.stat().st_mode & 0o077 == 0
    finally:
        job.terminate()
        job.communicate(timeout=60)
    assert not meeting.parent.exists()


def test_nothing_is_unpickled(tmp_path):
    guard = (
        "import torch.distributed.distributed_c10d as c10d\n"
        "def refuse(*_, **__): raise AssertionError('unpickled')\n"
        "c10d._tensor_to_object = c10d._object_to_tensor = refuse\n"
    )
    job = launch("-c", guard + MEET, "0")
    out, err = job.communicate(timeout=120)
    assert job.returncode == 0, err
    assert out == "met\nmet\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_every_process_once_and_is_the_exit_code(tmp_path, number):
    program = (
        "import os, signal, sys, time\n"
        "file = open(sys.argv[1] + '/' + os.environ['RANK'], 'a')\n"
        f"signal.signal({int(number)}, lambda number, frame: (file.write('got it\\n'), file.close(), sys.exit(0)))\n"
        "os.write(1, b'here\\n')\n"
        "time.sleep(60)\n"
    )
    job = launch("-c", program, str(tmp_path))
    said(job, "here")
    job.send_signal(number)
    assert job.wait(30) == 256 - number  # run() gives the negative number, which sys.exit cuts to a byte
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["got it\n"] * 2


def test_processes_end_with_the_launcher_and_with_each_other(tmp_path):
    job = launch("-c", "import os, time; os.write(1, b'%d\\n' % os.getpid()); time.sleep(60)")
    numbers = [int(job.stdout.readline()) for _ in "01"]
    job.kill()
    job.wait()
    wait_until(lambda: not any(map(alive, numbers)))

    program = "import os, sys, time\nif os.environ['RANK'] == '1': sys.exit(7)\nprint(os.getpid(), flush=True)\ntime.sleep(60)"
    begin = time.monotonic()
    job = launch("-c", program)
    out, _ = job.communicate(timeout=60)
    assert job.returncode == 7
    assert time.monotonic() - begin < 30
    assert not alive(int(out))


def alive(number: int) -> bool:
    return psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE


def wait_until(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_all_may_save_when_time_is_over(tmp_path):
    program = "import os, sys, time\nif os.environ['RANK'] == '0':\n  time.sleep(2); open(sys.argv[1], 'w').write('saved')\nsys.exit(75)"
    job = launch("-c", program, str(tmp_path / "file"))
    assert job.wait(60) == 75
    assert (tmp_path / "file").read_text() == "saved"


ODD = [
    {"RANK": "1"}, {"WORLD_SIZE": "2"}, {"RANK": "1", "WORLD_SIZE": "2"}, {"RANK": "0", "WORLD_SIZE": "2"}, {"RANK": "one"}, {"WORLD_SIZE": "-1"},
    {"WORLD_SIZE": "0"}, {"RANK": "2", "WORLD_SIZE": "2", "SIMLM_MEETING": "file"}, {"SIMLM_MEETING": "file"}, {"RANK": "0", "SIMLM_MEETING": "file"},
    {"RANK": "²", "WORLD_SIZE": "3", "SIMLM_MEETING": "file"},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_an_environment_of_another_launcher_is_one_sentence(monkeypatch, capsys, odd):
    for name in ("RANK", "WORLD_SIZE", processes.MEETING):
        monkeypatch.delenv(name, raising=False)
    for name, value in odd.items():
        monkeypatch.setenv(name, value)
    assert main(["check", "--config", "config/smoke.yaml"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("simlm check: the environment says ")
    assert "python -m simlm.launch --processes N" in err


def test_an_environment_of_one_process_is_none(monkeypatch):
    processes.check({"RANK": "0", "WORLD_SIZE": "1"})
    processes.check({"RANK": "", "WORLD_SIZE": ""})
    with pytest.raises(UserError, match="RANK=3 and WORLD_SIZE=x"):
        processes.check({"RANK": "3", "WORLD_SIZE": "x"})


def test_a_moment_that_is_none_is_one_sentence():
    from simlm.walltime import VARIABLE, end_of_job

    for odd in ("soon", "nan", "inf"):
        with pytest.raises(UserError, match=f"{VARIABLE} is '{odd}'"):
            end_of_job({VARIABLE: odd}, None)
