"""Lock files in a folder that everybody can write to, such as /tmp: nobody's trap is stepped into, and waiting says for whom.

A neighbour can make the folder first, or put a symbolic link into it. Nothing is followed or truncated here; what somebody else owns
or can write to is refused.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

from simlm.errors import UserError, one_line

REMINDER = 600.0
"""Seconds after which a wait is told again."""


class LockFolder:
    """The locks of this user in one folder, each a file that says who holds it.

    Parameters
    ----------
    path
        Made if it is absent, for this user alone.

    Raises
    ------
    UserError
        If it is a link, no folder, somebody else's, or others can write to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        instead = "remove it, or set TMPDIR to a folder of your own"
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            what = "is a symbolic link" if path.is_symlink() else "is not a folder that can be opened"
            raise UserError(f"{path}, where the locks of the devices lie, {what}; {instead}") from None
        about = os.fstat(self._descriptor)
        if about.st_uid != os.getuid() or about.st_mode & 0o022:
            os.close(self._descriptor)
            what = "belongs to somebody else" if about.st_uid != os.getuid() else "can be written to by others"
            raise UserError(f"{path}, where the locks of the devices lie, {what}; {instead}")

    def __enter__(self) -> LockFolder:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._descriptor)

    def take(self, name: str) -> int | None:
        """The open file of a lock that is now ours, or None if another process holds it; closing it frees the lock."""
        try:
            handle = os.open(f"{name}.lock", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600, dir_fd=self._descriptor)
        except OSError as error:
            raise UserError(f"{self.path / name}.lock cannot be opened ({error.strerror}); remove it") from None
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.getuid() or about.st_nlink != 1:
            os.close(handle)
            raise UserError(f"{self.path / name}.lock is not a file of yours alone; remove it")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} ({' '.join(sys.argv[-6:])})".encode(errors="replace")[:200])
        return handle

    def holder(self, name: str) -> str:
        """Who said last that the lock is theirs."""
        try:
            handle = os.open(f"{name}.lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._descriptor)
        except OSError:
            return "an unknown process"
        with os.fdopen(handle, errors="replace") as stream:
            return one_line(stream.read(200)) or "an unknown process"


class Waiting:
    """Tells that this process waits, and for whom: at once, whenever that changes, and every ten minutes."""

    def __init__(self) -> None:
        self._told, self._when = "", 0.0

    def tell(self, sentence: Callable[[], str]) -> None:
        """Say the sentence if it is new or was said long ago."""
        now, text = time.monotonic(), sentence()
        if text != self._told or now - self._when >= REMINDER:
            self._told, self._when = text, now
            print(text, file=sys.stderr, flush=True)
