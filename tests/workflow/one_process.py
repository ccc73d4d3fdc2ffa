"""Runs the commands that Snakemake plans, in its order, in one Python process.

Starting Python with torch costs many times what a tiny model computes. A chain in which Snakemake itself is not in question
is run like this in less than half of the processor time; ``test_chain.py`` compares both ways.

    python tests/workflow/one_process.py < commands        (in the folder of the experiment, with SIMLM_CONFIG)
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from simlm.cli import main

COMMAND = re.compile(r"^Shell command: (.+ > .+)$", re.MULTILINE)
"""A planned job's own, where Snakemake is asked for them with ``-p``."""


def planned_commands(plan: str) -> list[str]:
    """Commands in the text of a dry run.

    >>> planned_commands("Job 4: Reading\\nShell command: simlm prepare-corpus > a.log 2>&1\\nJob 0: all\\nShell command: None")
    ['simlm prepare-corpus > a.log 2>&1']
    """
    return COMMAND.findall(plan)


def program_of(command: str) -> tuple[list[str], Path]:
    """A shell command's words, without the launcher that hands out GPUs, and its log.

    >>> program_of("python -m simlm.devices --gpus 0 --minutes 30 -- train --model m > logs/train.m.log 2>&1")
    (['simlm', 'train', '--model', 'm'], PosixPath('logs/train.m.log'))
    """
    words = [os.path.expandvars(word) for word in shlex.split(command)]
    words, log = words[: words.index(">")], words[words.index(">") + 1]
    if "simlm.devices" in words:
        assert "--gpus 0 " in command, command
        assert "--processes" not in words or "--processes 1 " in command, command
        words = ["simlm", *words[words.index("--") + 1 :]]
    return words, Path(log)


@contextlib.contextmanager
def written_to(log: Path) -> Iterator[None]:
    """What this process prints, libraries in C included, goes to a file."""
    kept = os.dup(1), os.dup(2)
    with open(log, "wb") as stream:
        try:
            for number in (1, 2):
                os.dup2(stream.fileno(), number)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, before in zip((1, 2), kept):
                os.dup2(before, number)
                os.close(before)


def run(command: str) -> None:
    """Run one planned command; leaves its log and, as Snakemake does, what it took. Ends this process if it fails."""
    words, log = program_of(command)
    benchmark = log.parent.parent / "benchmarks" / f"{log.stem}.jsonl"
    for file in (log, benchmark):
        file.parent.mkdir(parents=True, exist_ok=True)
    begin, busy = time.monotonic(), time.process_time()
    with written_to(log):
        try:
            code = main(words[1:]) if words[0] == "simlm" else int(shutil.copy(*words[1:]) is None)
        except Exception:
            traceback.print_exc()
            code = 1
    if code:
        sys.exit(f"{command}: exit code {code}\n{log.read_text(errors='replace')}")
    benchmark.write_text(json.dumps({"s": time.monotonic() - begin, "cpu_time": time.process_time() - busy}) + "\n")


if __name__ == "__main__":
    for line in sys.stdin.read().splitlines():
        run(line)
