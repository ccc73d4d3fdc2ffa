"""Lines of a text file, plain or gzipped, in bounded memory."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from simlm.errors import UserError

LONGEST = 1 << 28
"""Bytes of a line; more is a file that was taken for one of lines (a gzipped one unpacks to a thousand times its size)."""

BLOCK = 1 << 20


def numbered_lines(path: str | Path, longest: int = LONGEST) -> Iterator[tuple[int, str]]:
    """Number and text of each line, without its end (``\\n`` or ``\\r\\n``); a byte order mark is left out.

    Whether the file is gzipped is seen from its first bytes. Memory: ``longest`` at most, a mebibyte where lines are short.

    Raises
    ------
    UserError
        With file and line, if a line is not UTF-8 or too long, or if the file cannot be read to its end.
    OSError
        If there is no such file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a").write_bytes(gzip.compress(b"one\\r\\ntwo"))
    ...     list(numbered_lines(folder + "/a"))
    [(1, 'one'), (2, 'two')]
    """
    for first, block in numbered_blocks(path, longest):
        for number, line in enumerate(block.split("\n"), first):
            yield number, line[:-1] if line.endswith("\r") else line


def numbered_blocks(path: str | Path, longest: int = LONGEST) -> Iterator[tuple[int, str]]:
    """As :func:`numbered_lines`, many lines at once: number of the first, and the lines as they are, without the end of the last."""
    number = 1
    for block in _whole_lines(Path(path), longest):
        try:
            yield number, block.decode()
        except UnicodeDecodeError as error:
            bad = number + block.count(b"\n", 0, error.start)
            raise UserError(f"{path}:{bad} is not UTF-8 ({error.reason}); convert the file") from None
        number += block.count(b"\n") + 1


def _whole_lines(path: Path, longest: int) -> Iterator[bytes]:
    """Blocks of whole lines without the last line's end."""
    number, parts, size = 1, [], 0
    with open(path, "rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        stream = gzip.GzipFile(fileobj=plain) if packed else plain
        first = True
        while block := _read(stream, path, number):
            if first:
                block, first = block.removeprefix(b"\xef\xbb\xbf"), False
            end = block.rfind(b"\n")
            if end < 0:
                parts.append(block)
                size += len(block)
                if size > longest:
                    raise UserError(f"{path}:{number} is longer than {longest:,} bytes; this is no file of lines, or a damaged one")
                continue
            whole = b"".join([*parts, block[:end]])
            yield whole
            number += whole.count(b"\n") + 1
            parts, size = [block[end + 1 :]], len(block) - end - 1
    rest = b"".join(parts)
    if rest:
        yield rest


def _read(stream, path: Path, number: int) -> bytes:
    try:
        return stream.read(BLOCK)
    except (EOFError, zlib.error, OSError) as error:
        raise UserError(f"{path} cannot be read after line {number} ({error}); copy it again") from None
