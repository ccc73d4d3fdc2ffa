"""Runs Snakemake as a user does, in a folder of the test's own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.workflow.one_process import planned_commands
from tests.workflow.plans import snakemake_in_fork

ROOT = Path(__file__).resolve().parents[2]
STARTS_NO_JOB = {"-n", "--summary", "--touch"}


@dataclass
class Answer:
    """What a call printed."""

    code: int
    text: str

    @property
    def jobs(self) -> list[str]:
        """Messages of the planned jobs, or of those that have ended."""
        return re.findall(r"^Job \d+: (.*)$", self.text, flags=re.MULTILINE) or re.findall(
            r"^ *\d+/\d+  [\d:]+ gone(?:  [\d:]+ to go)?  (.*?) [\d:]+(?:  →.*)?$", self.text, flags=re.MULTILINE
        )

    @property
    def nothing_to_do(self) -> bool:
        return "Nothing to be done" in self.text


@pytest.fixture(scope="session")
def snakemake():
    """Call: ``snakemake(folder, *arguments, configs=[...])``."""
    return run_snakemake


def run_snakemake(
    folder: Path,
    *arguments: str,
    configs: list[Path] | None = None,
    seconds: int = 300,
    environment: dict[str, str] | None = None,
    own_process: bool = False,
) -> Answer:
    """Plan or run an experiment in a folder; what starts no job need not be a process of its own."""
    words = ["--snakefile", str(ROOT / "workflow" / "Snakefile"), "--directory", str(folder), *arguments]
    if configs:
        words += ["--configfile", *map(str, configs)]
    environment = environment or outside()
    if STARTS_NO_JOB & set(arguments) and not own_process:
        return Answer(*snakemake_in_fork(words, folder, environment, seconds))
    done = subprocess.run([sys.executable, "-m", "snakemake", *words], capture_output=True, text=True, timeout=seconds, env=environment, cwd=folder)
    return Answer(done.returncode, done.stdout + done.stderr)


def outside() -> dict[str, str]:
    """The environment without what says where results are mirrored, or how many threads there are."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "OMP_"))}


@pytest.fixture(scope="session")
def one_process():
    """Call like ``snakemake``: it plans, and another process runs the planned commands one after the other (see one_process.py)."""

    def call(folder: Path, *arguments: str, configs: list[Path], seconds: int = 1500, environment: dict[str, str] | None = None) -> Answer:
        plan = run_snakemake(folder, "-n", "-p", "--cores", "1", *arguments, configs=configs, environment=environment)
        if plan.code:
            return plan
        commands = planned_commands(plan.text)
        (configuration,) = (command.split()[1] for command in commands if command.startswith("cp "))
        program = [sys.executable, str(Path(__file__).with_name("one_process.py"))]
        environment = {**(environment or outside()), "SIMLM_CONFIG": configuration, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(program, input="\n".join(commands), capture_output=True, text=True, timeout=seconds, env=environment, cwd=folder)
        return Answer(done.returncode, plan.text + done.stdout + done.stderr)

    return call
