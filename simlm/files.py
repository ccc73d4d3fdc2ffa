"""Files that are whole or absent: temporary names, renames, digests, JSON with clear errors."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simlm.durable import clean_beside, make_folder, prefix_beside, put_file, put_folder, restore
from simlm.errors import UserError


def require_new(place: Path) -> None:
    """Refuse to write over what somebody has there.

    Raises
    ------
    UserError
        If there is a file or folder.
    """
    if place.exists():
        raise UserError(f"{place} is there already; name another place, or delete it")


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path``, once it is on the disk, only if the block succeeds."""
    path, temporary = Path(path), None
    try:
        make_folder(path.parent)
        clean_beside(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix_beside(path), suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        put_file(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); free space or choose another place") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; it replaces ``path``, once all of it is on the disk, only if the block succeeds."""
    path, temporary = Path(path), None
    try:
        make_folder(path.parent)
        clean_beside(path)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=prefix_beside(path), suffix=".tmp"))
        yield temporary
        put_folder(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); free space or choose another place") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys, atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: str | Path, made_by: str) -> Any:
    """Read a JSON file that the stage ``made_by`` writes.

    Raises
    ------
    UserError
        If the file is absent or truncated; the sentence names the stage to run again.
    """
    path = Path(path)
    restore(path.parent)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run {made_by} first") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); delete it and run {made_by} again") from None
    except (ValueError, RecursionError) as error:
        # Not JSONDecodeError alone: numbers of thousands of digits and thousands of brackets have errors of their own.
        raise UserError(f"{path} is truncated or not JSON ({error}); delete it and run {made_by} again") from None


def peek_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds, or an empty one where there is no such file or it is damaged: for whoever only looks whether it fits."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def sealed(value: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with a digest of all that it holds, ``seal``, so that a change of it is noticed.

    >>> sealed({"b": 1.5})["seal"] == sealed({"seal": "?", "b": 1.5})["seal"], is_sealed(sealed({"b": 1.5}) | {"b": 1.6})
    (True, False)
    """
    content = json.dumps({key: part for key, part in value.items() if key != "seal"}, sort_keys=True)
    return {**value, "seal": sha256_text(content)}


def is_sealed(value: dict[str, Any]) -> bool:
    """Whether an object is as it was when it was sealed, or never was (by an earlier version); an empty one is what :func:`peek_json` has for damaged files."""
    return bool(value) and ("seal" not in value or sealed(value)["seal"] == value["seal"])


def read_manifest(path: str | Path, what: str, made_by: str, shape: dict[str, Any]) -> dict[str, Any]:
    """Read a JSON object that must have the keys of ``shape``.

    Parameters
    ----------
    what
        What the file should be, such as ``the manifest of an index``.
    made_by
        The command that makes it.
    shape
        Key → type, or the shape of an object inside.

    Raises
    ------
    UserError
        If the file is absent, truncated, or has another form.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json(folder + "/a.json", {"file": {"bytes": "many"}})
    ...     try:
    ...         read_manifest(folder + "/a.json", "a manifest", "simlm make", {"file": {"bytes": int}})
    ...     except UserError as error:
    ...         print(str(error).removeprefix(folder))
    /a.json is not a manifest ('file.bytes' is of type str instead of int); delete it and run simlm make again
    """
    value = read_json(path, made_by)
    misfit = _misfit(value, shape)
    if misfit:
        raise UserError(f"{path} is not {what} ({misfit}); delete it and run {made_by} again")
    return value


def _misfit(value: Any, shape: dict[str, Any], place: str = "") -> str | None:
    """Why a value does not have a shape, or None."""
    if not isinstance(value, dict):
        return f"'{place[:-1]}' is not an object" if place else "it is not an object"
    for key, wanted in shape.items():
        if key not in value:
            return f"it has no '{place}{key}'"
        if isinstance(wanted, dict):
            misfit = _misfit(value[key], wanted, f"{place}{key}.")
            if misfit:
                return misfit
        elif not isinstance(value[key], wanted) or (isinstance(value[key], bool) and wanted is int):
            return f"'{place}{key}' is of type {type(value[key]).__name__} instead of {wanted.__name__}"
    return None


def first_bad_line(path: str | Path) -> int:
    """Number of the first line of a text file that is not UTF-8 (1 if there is none)."""
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def sha256_file(path: str | Path) -> str:
    """Hex digest of one file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_text(text: str) -> str:
    """Hex digest of a string's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()
