"""A Slurm of one node on this machine, for tests: munge, slurmctld and slurmd in one folder, without systemd or accounting.

    python tests/cluster/slurm.py start FOLDER      (as root)
    python tests/cluster/slurm.py stop FOLDER

Each daemon has a pid file in FOLDER; ``stop`` ends these processes and no others. The configuration is linked into
/etc/slurm, because a job step loses SLURM_CONF from its environment; a machine that has one there is left alone.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

INSTALL = "`sudo tests/install-services.sh` installs Debian's packages of Slurm and PostgreSQL"
"""What README says of the tests that are skipped, in its words."""
LINK = Path("/etc/slurm/slurm.conf")
DAEMONS = ("slurmd", "slurmctld", "munged")
"""In the order in which they are ended."""

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/socket/munge
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
# Neither cgroups nor binding to cores, which containers do not allow; memory is measured once a second.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ReturnToService=2
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
KillWait=2
MinJobAge=900
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} CoresPerSocket={cores} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=1-00:00:00 State=UP
"""


def missing() -> str | None:
    """Why a Slurm cannot be started here, or None."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "a Slurm can only be started by root"
    absent = [name for name in ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "runuser") if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not found: {INSTALL}"
    if LINK.exists() and not LINK.is_symlink():
        return f"this machine has a Slurm of its own ({LINK})"
    return None


def start(folder: Path, cores: int = 4, memory: int = 16000) -> None:
    """Start the daemons that do not run yet and wait until the node takes jobs; ``memory`` is in MB."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _start_munge(folder)
    values = {"host": socket.gethostname().split(".")[0], "port": _free_port(), "node_port": _free_port(), "folder": folder}
    configuration = folder / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(**values, cores=cores, memory=memory))
    LINK.parent.mkdir(parents=True, exist_ok=True)
    if LINK.is_symlink():
        LINK.unlink()
    LINK.symlink_to(configuration)
    subprocess.run(["slurmctld", "-f", str(configuration)], check=True)
    subprocess.run(["slurmd", "-f", str(configuration), "-N", values["host"]], check=True)
    _wait_for(lambda: _says(["sinfo", "--noheader", "--Node", "--format", "%T"]).strip() in ("idle", "mixed", "allocated"), "a node that takes jobs", folder)


def stop(folder: Path) -> None:
    """Cancel what runs, end the daemons by their pid files, take the link away."""
    if LINK.is_symlink() and LINK.resolve().parent == folder.resolve():
        jobs = _says(["squeue", "--noheader", "--format", "%A"]).split()
        if jobs:
            subprocess.run(["scancel", *jobs], check=False)
            time.sleep(3)
    for name in DAEMONS:
        pid = _pid(folder, name)
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            end = time.monotonic() + 15
            while _pid(folder, name) is not None and time.monotonic() < end:
                time.sleep(0.1)
            if _pid(folder, name) is not None:
                os.kill(pid, signal.SIGKILL)
        (folder / f"{name}.pid").unlink(missing_ok=True)
    if LINK.is_symlink() and LINK.resolve().parent == folder.resolve():
        LINK.unlink()


def _start_munge(folder: Path) -> None:
    """munged runs as its own user and wants folders that only it can write to."""
    own, place = folder / "munge", folder / "socket"
    for directory, mode in ((own, 0o700), (place, 0o755)):
        directory.mkdir(exist_ok=True)
        shutil.chown(directory, "munge", "munge")
        directory.chmod(mode)
    for parent in [folder, *folder.parents]:
        parent.chmod(parent.stat().st_mode | 0o011) if parent.is_relative_to("/tmp") and parent != Path("/tmp") else None
    key = own / "key"
    key.write_bytes(os.urandom(128))
    shutil.chown(key, "munge", "munge")
    key.chmod(0o400)
    options = {"key-file": key, "socket": place / "munge", "pid-file": own / "munged.pid", "log-file": own / "log", "seed-file": own / "seed"}
    subprocess.run(["runuser", "-u", "munge", "--", "munged", *(f"--{name}={value}" for name, value in options.items())], check=True)
    _wait_for(lambda: (own / "munged.pid").exists() and bool(_says(["munge", f"--socket={place / 'munge'}", "--no-input"])), "munged", folder)
    (folder / "munged.pid").write_text((own / "munged.pid").read_text())


def _pid(folder: Path, name: str) -> int | None:
    """The process in a pid file, if it still is that daemon."""
    try:
        pid = int((folder / f"{name}.pid").read_text())
        state = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, ValueError):
        return None
    return pid if f"({name})" in state and state.rsplit(") ", 1)[1][0] not in "ZX" else None


def _says(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _wait_for(condition: Callable[[], bool], what: str, folder: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            logs = "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in folder.glob("*.log"))
            raise RuntimeError(f"{what} did not come within {seconds:.0f} s\n{logs}")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    reason = missing()
    if reason:
        raise SystemExit(reason)
    {"start": start, "stop": stop}[sys.argv[1]](Path(sys.argv[2]).resolve())
