"""Whose runs are whose: every results folder has an identity of its own, kept in a file in it.

Runs carry it as a tag, so that two folders of one configuration write two sets of runs and neither touches the
other's. A folder that was moved keeps its identity; one that was copied gets another. Where the two cannot be told
apart it is a copy: a second set of runs is a smaller evil than an overwritten one.
"""

from __future__ import annotations

import os
import platform
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simlm.errors import UserError
from simlm.files import read_manifest, write_json

FILE = ".owner.json"


@dataclass(frozen=True)
class Place:
    """Where a folder lies: host name, path, and the numbers of its file system."""

    machine: str
    path: str
    device: int
    inode: int

    @classmethod
    def of(cls, folder: Path) -> Place:
        found = folder.stat()
        return cls(platform.node(), str(folder.resolve()), found.st_dev, found.st_ino)

    def is_same(self, other: Place) -> bool:
        """Whether two places are one folder: moved on its file system, or reached from another machine by the same path."""
        return self.inode == other.inode and (self.path == other.path or (self.machine == other.machine and self.device == other.device))

    def was_left_for(self, other: Place, owner: str) -> bool:
        """Whether the folder was moved from here to another file system of the same machine: nothing of it is left here."""
        if self.machine != other.machine or self.path == other.path:
            return False
        try:
            return _read(Path(self.path) / FILE)["owner"] != owner
        except FileNotFoundError:
            return not Path(self.path).exists()
        except (OSError, UserError):
            return False


def owner_of(folder: Path) -> str:
    """Identity of a results folder; the folder gets one if it has none.

    Call it under :func:`simlm.tracking.store.exclusive`.
    """
    file = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    here = Place.of(folder)
    try:
        found = _read(file)
        there = Place(**found["place"])
    except FileNotFoundError:
        found = {"owner": uuid.uuid4().hex}
        _claim(file, {**found, "place": asdict(here)})
        return _read(file)["owner"]
    if here == there:
        return found["owner"]
    if not there.is_same(here) and not there.was_left_for(here, found["owner"]):
        found = {"owner": uuid.uuid4().hex}
    write_json(file, {**found, "place": asdict(here)})
    return found["owner"]


def mirrored_before(folder: Path) -> dict[str, Any]:
    """What the last complete replay wrote into ``mlflow.json``, which Snakemake deletes before the next; empty if there was none."""
    try:
        return _read(folder / FILE).get("mirrored", {})
    except FileNotFoundError:
        return {}


def remember(folder: Path, mirrored: dict[str, Any]) -> None:
    """Keep the ids of a complete replay."""
    file = folder / FILE
    write_json(file, {**_read(file), "mirrored": mirrored})


def _claim(file: Path, content: dict[str, Any]) -> None:
    """Write the file unless another process has done so in the meantime."""
    own = file.with_name(f"{file.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    try:
        write_json(own, content)
        os.link(own, file)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        write_json(file, content)
    finally:
        own.unlink(missing_ok=True)


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise FileNotFoundError(file)
    return read_manifest(
        file, "the identity of a results folder", "simlm track", {"owner": str, "place": {"machine": str, "path": str, "device": int, "inode": int}}
    )
