"""Digests of files, computed once for as long as nothing touches the file.

What is known of a file is kept below its experiment's results, in ``.config/digests.jsonl``: name, size, times and inode, then the digest.
Whoever writes to a file changes its ``ctime``, which nobody can set, so a file with an older date or the same size is another file; a
copied folder has other inodes and is read again, once. A digest is believed only if the file had been left alone for two seconds when it
was read: file systems keep times coarsely, so that a file may change twice at one time (git calls such an entry racily clean).
"""

from __future__ import annotations

import functools
import json
import os
import time
from pathlib import Path
from typing import Any

from simlm.errors import UserError
from simlm.files import sha256_file

MOMENT = 2_000_000_000
"""Nanoseconds. A file that was changed so short a time ago may be changed again without another date: FAT's, the coarsest, have two seconds."""

BIG = 64 << 20
"""Bytes from which a file is not read for its digest by those who want to start at once."""

MOST_LINES = 50_000


class Digests:
    """The digests that are known below a results folder; several processes may add to them at once.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.txt")
    ...     _ = file.write_text("apples")
    ...     print(Digests(Path(folder)).of(file)[:8])
    f5903f51
    """

    def __init__(self, root: Path) -> None:
        self.file = root / ".config" / "digests.jsonl"
        self._known: dict[tuple, str] = {}
        try:
            lines = self.file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return
        for line in lines[-MOST_LINES:]:
            try:
                *signature, digest = json.loads(line)
            except (ValueError, TypeError, RecursionError):
                continue  # cut by a kill, or two at once
            if len(signature) == 5 and isinstance(digest, str) and not any(isinstance(part, list | dict) for part in signature):
                self._known[tuple(signature)] = digest

    def known(self, file: Path) -> str | None:
        """The digest of a file, if nothing has touched it since it was computed."""
        return self._known.get(_signature(file))

    def of(self, file: Path) -> str:
        """The digest of a file, read if it must be."""
        signature, now = _signature(file), time.time_ns()
        digest = self._known.get(signature)
        if digest is None:
            digest = sha256_file(file)
            if now - signature[-1] >= MOMENT and _signature(file) == signature:
                self._add(signature, digest)
        return digest

    def misfit(self, file: Path, about: dict[str, Any], big: bool = True) -> str | None:
        """Why a file is not the one of this size and digest (``bytes`` and perhaps ``sha256``), or None.

        Without ``big`` a file of :data:`BIG` bytes and more is compared only if its digest is known.
        """
        try:
            size = file.stat().st_size
        except OSError:
            return "is missing"
        if size != about["bytes"]:
            return f"has {size:,} bytes instead of {about['bytes']:,}"
        if about.get("sha256"):
            digest = self.of(file) if big or size < BIG else self.known(file)
            if digest not in (None, about["sha256"]):
                return "is not what its digest says"
        return None

    def _add(self, signature: tuple, digest: str) -> None:
        self._known[signature] = digest
        if not (self.file.parent.parent / "stages").is_dir():
            return  # no results folder
        try:
            self.file.parent.mkdir(exist_ok=True)
            # Appended in one write, so that others may do so at the same time.
            handle = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(handle, (json.dumps([*signature, digest]) + "\n").encode())
            finally:
                os.close(handle)
        except OSError:
            pass  # results that may only be read: it is computed again


@functools.cache
def digests_below(root: Path) -> Digests:
    """The digests of a results folder, read once per process."""
    return Digests(root)


def describe(folder: Path, but: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """Name → size and digest of all files below a folder, for its manifest (``files``)."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and str(file.relative_to(folder)) not in but)
    return {str(file.relative_to(folder)): {"bytes": file.stat().st_size, "sha256": sha256_file(file)} for file in files}


def described(folder: Path, manifest: dict[str, Any]) -> dict[Path, dict[str, Any]]:
    """File → its size and digest, as the manifest of a folder has them (``files``); an older version's has none, or sizes alone."""
    files, found = manifest.get("files"), {}
    for name, about in files.items() if isinstance(files, dict) else ():
        about = {"bytes": about} if isinstance(about, int) else about
        if isinstance(about, dict) and isinstance(about.get("bytes"), int) and ".." not in Path(name).parts and not Path(name).is_absolute():
            found[folder / name] = about
    return found


def require_described(root: Path, folder: Path, manifest: dict[str, Any], made_by: str) -> None:
    """Refuse a folder whose files are not those that its manifest describes.

    Parameters
    ----------
    root
        The results folder, which knows digests.

    Raises
    ------
    UserError
        With the file.
    """
    for file, about in described(folder, manifest).items():
        if reason := digests_below(root).misfit(file, about):
            raise UserError(f"{file} {reason}; delete {folder} and run {made_by} again")


def _signature(file: Path) -> tuple:
    about = os.stat(file)
    return (Path(file).name, about.st_size, about.st_mtime_ns, about.st_ino, about.st_ctime_ns)
