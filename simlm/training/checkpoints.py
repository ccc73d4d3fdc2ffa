"""Checkpoints that belong to a stage key: complete ones of the same key are resumed, foreign ones set aside."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

from simlm.durable import settle, sync_folder
from simlm.files import sha256_file, write_json
from simlm.progress import say

STAMP = "complete.json"
"""Written into a checkpoint after everything else: its key, sizes and digests of its files, and what the caller adds."""


HISTORY = "history.jsonl"
"""The curve beside checkpoints that were set aside."""


def claim(folder: Path, key: str, history: Path | None = None) -> Path | None:
    """Prepare a training folder for the stage ``key``; return the newest whole checkpoint to resume from.

    A folder of another key is renamed with that key, neither resumed nor deleted; what was set aside of this key comes back. The
    file ``history``, the curve that belongs to the checkpoints, goes and comes with them.
    """
    mark = folder / "key.json"
    if folder.exists() and (found := _key(mark)) != key and any(folder.iterdir()):
        aside = _free(_aside(folder, found))
        folder.rename(aside)
        if history is not None and history.exists():
            history.rename(aside / HISTORY)
        say(f"The checkpoints in {folder} belong to other settings, inputs or code ({found}); set aside as {aside.name}.")
    if _aside(folder, key).exists() and not checkpoints(folder):
        shutil.rmtree(folder, ignore_errors=True)
        _aside(folder, key).rename(folder)
        if history is not None and (folder / HISTORY).exists():
            (folder / HISTORY).replace(history)
        say(f"{_aside(folder, key).name} belongs to these settings, inputs and code and is taken up again.")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(mark, {"key": key})
    whole = None
    for path in reversed(checkpoints(folder)):
        fault = None if whole else fault_of(path, key)
        if fault is None:
            whole = whole or path
        else:
            say(f"{path} {fault} and is removed.")
            shutil.rmtree(path, ignore_errors=True)
    if whole is not None:
        say(f"Resuming from {whole}.")
    return whole


def _aside(folder: Path, key: str) -> Path:
    return folder.with_name(f"{folder.name}.set-aside-{key}")


def _free(path: Path) -> Path:
    """``path``, or the first of ``path-2``, ``path-3`` … that does not exist."""
    names = (path if number == 1 else path.with_name(f"{path.name}-{number}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def fault_of(checkpoint: Path, key: str) -> str | None:
    """Why a checkpoint cannot be resumed by the stage ``key``, as the rest of a sentence; None if it is whole: every byte is read."""
    if not is_complete(checkpoint):
        return "is incomplete (the training was killed while writing it)"
    found = read_stamp(checkpoint)
    if found.get("key") != key:
        return "belongs to another training"
    digests = found.get("sha256") or {}
    damaged = next((name for name in found["files"] if sha256_file(checkpoint / name) != digests.get(name)), None)
    return f"is damaged ({damaged} is not what was written)" if damaged else None


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a training folder, whole or not, by step."""
    found = [(step_of(path), path) for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return [path for _, path in sorted(found)]


def step_of(checkpoint: Path | None) -> int:
    """Optimiser steps that a checkpoint has behind it; 0 for none."""
    return int(checkpoint.name.split("-")[1]) if checkpoint else 0


def stamp(checkpoint: Path, key: str, about: dict[str, Any]) -> None:
    """Declare a checkpoint complete, once all processes have written their files and these have reached the disk."""
    settle(checkpoint)
    sync_folder(checkpoint.parent)
    files = {str(file.relative_to(checkpoint)): file for file in sorted(checkpoint.rglob("*")) if file.is_file() and file.name != STAMP}
    sizes, digests = {name: file.stat().st_size for name, file in files.items()}, {name: sha256_file(file) for name, file in files.items()}
    write_json(checkpoint / STAMP, {"key": key, "files": sizes, "sha256": digests, **about})


def read_stamp(checkpoint: Path) -> dict[str, Any] | None:
    """What :func:`stamp` wrote, or None if there is no stamp or it cannot be read."""
    try:
        found = json.loads((checkpoint / STAMP).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("files"), dict) else None


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint has its stamp and every file has the size that the stamp says."""
    found = read_stamp(checkpoint)
    return found is not None and all((checkpoint / name).is_file() and (checkpoint / name).stat().st_size == size for name, size in found["files"].items())


def keep_last(folder: Path) -> None:
    """Delete all checkpoints but the newest complete one."""
    complete = [path for path in checkpoints(folder) if is_complete(path)]
    for path in complete[:-1]:
        shutil.rmtree(path, ignore_errors=True)


def release(folder: Path) -> None:
    """Delete the checkpoints of a training whose model has been exported, the key last."""
    for path in checkpoints(folder):
        shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _key(mark: Path) -> str:
    try:
        return str(json.loads(mark.read_text())["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"
