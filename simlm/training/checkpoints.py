"""Checkpoints that belong to a stage key: complete ones of the same key are resumed, foreign ones set aside."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from simlm.files import write_json
from simlm.progress import say


def claim(folder: Path, key: str) -> Path | None:
    """Prepare a training folder for the stage ``key``; return the newest complete checkpoint to resume from.

    A folder of another key is renamed with that key, never resumed and never deleted.
    """
    stamp = folder / "key.json"
    if folder.exists():
        found = _key(stamp)
        if found != key:
            aside = folder.with_name(f"{folder.name}.set-aside-{found}")
            if aside.exists():
                shutil.rmtree(aside)
            folder.rename(aside)
            say(f"The checkpoints in {folder} belong to other settings or inputs ({found}); they were set aside as {aside.name} and training starts anew.")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(stamp, {"key": key})
    checkpoints = sorted((int(match[1]), path) for path in folder.iterdir() if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)))
    complete = None
    for _, path in checkpoints:
        # The Trainer writes this file after all the others.
        if _is_json(path / "trainer_state.json"):
            complete = path
        else:
            say(f"{path} is incomplete (the training was killed while writing it) and is removed.")
            shutil.rmtree(path)
    if complete is not None:
        say(f"Resuming from {complete}.")
    return complete


def release(folder: Path) -> None:
    """Delete the checkpoints of a training whose model has been exported."""
    shutil.rmtree(folder, ignore_errors=True)


def _key(stamp: Path) -> str:
    try:
        return str(json.loads(stamp.read_text())["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return True
