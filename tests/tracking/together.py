"""Runs several simlm commands at the same moment, each in a process of its own.

    python together.py FILE

FILE holds a JSON list of argument lists. The processes are forked from one that has imported everything, so that
eight of them cost the imports of one; all wait for each other before they begin. The exit codes are printed as JSON.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import sys
from pathlib import Path

MODULES = ("mlflow", "mlflow.store.tracking.sqlalchemy_store", "simlm.tracking.mirror", "simlm.tracking.live")
TRAINING = ("simlm.training.biencoder", "simlm.training.mlm")


def command(arguments: list[str], ready) -> None:
    from simlm.cli import main

    ready.wait()
    sys.exit(main(arguments))


def together(calls: list[list[str]]) -> list[int]:
    for module in MODULES + (TRAINING if any(call[0] == "train" for call in calls) else ()):
        importlib.import_module(module)
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(len(calls))
    processes = [context.Process(target=command, args=(call, ready)) for call in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


if __name__ == "__main__":
    print(json.dumps(together(json.loads(Path(sys.argv[1]).read_text()))))
