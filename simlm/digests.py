"""Digests of files, computed once for as long as nothing touches the file.

What is known of a file is kept below its experiment's results, in ``.config/digests.jsonl``: name, size, times and inode, then the digest.
Whoever writes to a file changes its ``ctime``, which nobody can set, so a file with an older date or the same size is another file; a
copied folder has other inodes and is read again, once.
"""

from __future__ import annotations

import functools
import json
import os
import time
from pathlib import Path

from simlm.files import sha256_file

MOMENT = 20_000_000
"""Nanoseconds. A file that was changed so short a time ago may be changed again without another date."""

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
        signature = _signature(file)
        digest = self._known.get(signature)
        if digest is None:
            digest = sha256_file(file)
            if time.time_ns() - signature[-1] >= MOMENT:
                self._add(signature, digest)
        return digest

    def remember(self, file: Path, digest: str) -> None:
        """Take the word of whoever has just written a file."""
        signature = _signature(file)
        if self._known.get(signature) != digest:
            self._add(signature, digest)

    def _add(self, signature: tuple, digest: str) -> None:
        self._known[signature] = digest
        if not self.file.parent.parent.is_dir():
            return
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


def _signature(file: Path) -> tuple:
    about = os.stat(file)
    return (Path(file).name, about.st_size, about.st_mtime_ns, about.st_ino, about.st_ctime_ns)
