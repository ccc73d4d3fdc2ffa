"""What is on disk stays there: permissions of the umask, fsync of files and of the folders that name them, folders exchanged in one step.

A file that was renamed into place can be empty after a power cut, because the name reaches the disk before the content. Everything
that is put into place here has reached the disk before its name does.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import glob
import os
import platform
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # Linux: fcntl.h, fs.h


def settle(path: str | Path) -> None:
    """Give a file, or all of a folder, the permissions that the umask says, and wait until it has reached the disk.

    Libraries leave files that only their owner may read (safetensors, everything of ``tempfile``), and none waits for the disk.
    """
    path, mask = Path(path), _umask()
    if not path.is_dir():
        _settle_file(path, mask)
        return
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            _settle_file(Path(folder, name), mask)
        os.chmod(folder, 0o777 & ~mask)
        sync_folder(folder)


def _settle_file(path: Path, mask: int) -> None:
    if path.is_symlink():
        return  # what it names is somebody else's
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o666 & ~mask:
            os.fchmod(descriptor, 0o666 & ~mask)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: str | Path) -> None:
    """Wait until the names in a folder have reached the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        return  # may be written but not read: nothing to wait with
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # file systems that know it for files only
            raise
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, so that their names are on the disk as well."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync_folder(each.parent)


def put_file(temporary: Path, path: Path) -> None:
    """Rename a finished file to ``path``."""
    settle(temporary)
    os.replace(temporary, path)
    sync_folder(path.parent)


def put_folder(temporary: Path, path: Path) -> None:
    """Rename a finished folder to ``path``. A folder that is there is whole until the new one is in its place, and gone afterwards.

    Where the kernel cannot exchange two folders, there is a moment with neither; :func:`restore` ends it if the process does not.
    """
    settle(temporary)
    if not path.exists():
        os.replace(temporary, path)
    elif not exchange(temporary, path):
        aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=prefix_beside(path), suffix=".old"))
        os.replace(path, aside / "content")
        try:
            os.replace(temporary, path)
        except OSError:
            os.replace(aside / "content", path)
            aside.rmdir()
            raise
        sync_folder(path.parent)
        shutil.rmtree(aside)
    sync_folder(path.parent)


def exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where the kernel or the file system cannot."""
    function = _renameat2()
    if function is None:
        return False
    if function(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(other))


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    if platform.system() != "Linux":
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return function


def prefix_beside(path: Path) -> str:
    """Beginning of a temporary name beside ``path`` by which a later process knows whose it was."""
    return f".{path.name}.{_host()}-{os.getpid()}."


def clean_beside(path: Path) -> None:
    """Put back a folder that a killed process of this machine was replacing, and remove what such processes left for ``path``."""
    restore(path)
    for stale in _left_beside(path):
        shutil.rmtree(stale, ignore_errors=True) if stale.is_dir() else stale.unlink(missing_ok=True)


def restore(path: Path) -> bool:
    """Put back ``path`` if a process was killed while it replaced the folder; returns whether it did."""
    if path.exists():
        return False
    for aside in _left_beside(path):
        if aside.suffix == ".old" and (aside / "content").exists():
            os.replace(aside / "content", path)
            sync_folder(path.parent)
            return True
    return False


def _left_beside(path: Path) -> list[Path]:
    beginning, found = f".{path.name}.{_host()}-", []
    for stale in path.parent.glob(f"{glob.escape(beginning)}*.*"):
        pid = stale.name.removeprefix(beginning).split(".")[0]
        if stale.suffix in (".tmp", ".old") and pid.isdigit() and not _is_alive(int(pid)):
            found.append(stale)
    return found


def _host() -> str:
    return platform.node().replace(".", "-")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # somebody else's
    return True


def _umask() -> int:
    """The umask, without changing it where the system tells it: another thread may be making a file."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
            return next(int(line.split()[1], 8) for line in stream if line.startswith("Umask:"))
    except (OSError, ValueError, StopIteration):
        value = os.umask(0o077)
        os.umask(value)
        return value
