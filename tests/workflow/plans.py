"""Snakemake in forks of a process that has imported it and read the code of the package: a plan takes half a second, not four.

Each fork has nothing but that from the others; what starts jobs is run as a process of its own all the same (``conftest.py``).
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
import tempfile
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def snakemake_in_fork(arguments: list[str], folder: Path, environment: dict[str, str], seconds: float) -> tuple[int, str]:
    """Exit code and output of ``snakemake ARGUMENTS`` in a folder."""
    with tempfile.NamedTemporaryFile() as output:
        process = _server().Process(target=_main, args=(arguments, str(folder), environment, output.name))
        process.start()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            raise TimeoutError(f"snakemake {' '.join(arguments)} took more than {seconds} s")
        return int(process.exitcode or 0), Path(output.name).read_text(encoding="utf-8", errors="replace")


@functools.cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["snakemake.cli", "simlm.planning.requests", "tests.workflow.plans_preload"])
    with pytest.MonkeyPatch.context() as patch:
        # It starts with the working directory of the first test that plans.
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
        forkserver.ensure_running()
    return context


def _main(arguments: list[str], folder: str, environment: dict[str, str], output: str) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with open(output, "wb") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
    from snakemake.cli import main

    sys.argv = ["snakemake", *arguments]
    main(arguments)
