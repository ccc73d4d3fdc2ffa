"""Checkpoints that belong to a stage key: complete ones of the same key are resumed, foreign ones set aside."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from simlm.durable import settle, sync_folder
from simlm.files import write_json
from simlm.progress import say

STAMP = "complete.json"
"""Written into a checkpoint after everything else: sizes of its files, and what the caller adds."""


def claim(folder: Path, key: str) -> Path | None:
    """Prepare a training folder for the stage ``key``; return the newest complete checkpoint to resume from.

    A folder of another key is renamed with that key, never resumed and never deleted.
    """
    mark = folder / "key.json"
    if folder.exists():
        found = _key(mark)
        if found != key and any(folder.iterdir()):
            aside = folder.with_name(f"{folder.name}.set-aside-{found}")
            if aside.exists():
                shutil.rmtree(aside)
            folder.rename(aside)
            say(f"The checkpoints in {folder} belong to other settings, inputs or code ({found}); set aside as {aside.name}, training starts anew.")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(mark, {"key": key})
    complete = None
    for path in checkpoints(folder):
        if is_complete(path):
            complete = path
        else:
            say(f"{path} is incomplete (the training was killed while writing it) and is removed.")
            shutil.rmtree(path, ignore_errors=True)
    if complete is not None:
        say(f"Resuming from {complete}.")
    return complete


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a training folder, whole or not, by step."""
    found = [(step_of(path), path) for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return [path for _, path in sorted(found)]


def step_of(checkpoint: Path | None) -> int:
    """Optimiser steps that a checkpoint has behind it; 0 for none."""
    return int(checkpoint.name.split("-")[1]) if checkpoint else 0


def stamp(checkpoint: Path, about: dict[str, Any]) -> None:
    """Declare a checkpoint complete, once all processes have written their files and these have reached the disk."""
    settle(checkpoint)
    sync_folder(checkpoint.parent)
    sizes = {str(file.relative_to(checkpoint)): file.stat().st_size for file in sorted(checkpoint.rglob("*")) if file.is_file()}
    write_json(checkpoint / STAMP, {"files": sizes, **about})


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
