"""Runs Snakemake as a user does, in a folder of the test's own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


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


def run_snakemake(folder: Path, *arguments: str, configs: list[Path] | None = None, seconds: int = 120, environment: dict[str, str] | None = None) -> Answer:
    """Plan or run an experiment in a folder."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile"), "--directory", str(folder), *arguments]
    if configs:
        command += ["--configfile", *map(str, configs)]
    environment = environment or {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "OMP_"))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment, cwd=folder)
    return Answer(done.returncode, done.stdout + done.stderr)
