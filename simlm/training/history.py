"""The curve of a training: one JSON object per logged step, in a file that survives a resume without doubles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from simlm.durable import settle
from simlm.files import write_text


class History:
    """Appends to ``path``; on a resume, lines after the checkpoint's step are dropped first.

    Attributes
    ----------
    kept
        Lines of the training before the resume.
    """

    def __init__(self, path: Path, resume_step: int) -> None:
        self.path = path
        self.kept = [line for line in read_history(path) if line["step"] <= resume_step] if resume_step else []
        write_text(path, "".join(json.dumps(line) + "\n" for line in self.kept))

    def add(self, step: int, values: dict[str, Any]) -> None:
        """Append one line."""
        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **values}) + "\n")

    def settle(self) -> None:
        """Wait until all lines have reached the disk: what is saved after them goes on from them."""
        settle(self.path)


def read_history(path: Path) -> list[dict[str, Any]]:
    """Lines of a history file; none when it does not exist, and what follows a torn line is left out."""
    if not path.exists():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(value, dict) or not isinstance(value.get("step"), int):
            break
        lines.append(value)
    return lines
