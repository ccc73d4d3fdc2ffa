"""Passages or queries of one file, for those who bring texts to a trained model: a table, lines of text, or what is piped in."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from simlm.corpus.hub import ID_COLUMNS, QUERY_ID_COLUMNS, TEXT_COLUMNS, documents_of
from simlm.corpus.qrels import PASSAGE_COLUMNS
from simlm.corpus.records import Records
from simlm.corpus.tables import FORMS, form_of, open_table, placed
from simlm.errors import UserError
from simlm.lines import numbered_lines

STDIN = "-"
HEADER = (*ID_COLUMNS, *QUERY_ID_COLUMNS, *PASSAGE_COLUMNS, "title", "body", "content", "passage", "document", "abstract", "sentence", "question")
"""Cells of a first line that is no text but names columns."""


@contextmanager
def as_file(name: str) -> Iterator[Path]:
    """The file called ``name``; what is piped in (``-``) becomes one that lives as long as the block, JSON lines if its first letter is ``{``, else text."""
    if name != STDIN:
        yield Path(name).expanduser()
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "standard-input")
        with open(file, "wb") as stream:
            shutil.copyfileobj(sys.stdin.buffer, stream)
        with open(file, "rb") as stream:
            beginning = stream.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        yield file.rename(file.with_suffix(".jsonl" if beginning == b"{" else ".txt"))


def passages_in(file: Path) -> Records:
    """(id, title, text) of a file of passages.

    Tables are JSON lines, TSV, CSV or Parquet with columns for id and text, and perhaps title, by the names of BEIR, Tevatron or the hub. A TSV
    file without such a header has id and text, or id, title and text (MS MARCO). In a ``.txt`` file each line is a text; its id is its number.

    Raises
    ------
    UserError
        If the file cannot be read so; while reading, at the first malformed line.
    """
    plain = _plain(file)
    if plain is None:
        return documents_of(open_table([file]))
    return placed(lambda: ((place, (one, *(title or ("",)), text)) for place, (one, *title, text) in plain(3)), str(file))


def queries_in(file: Path) -> Records:
    """(id, text) of a file of queries, in the forms of :func:`passages_in`."""
    plain = _plain(file)
    return open_table([file]).records(QUERY_ID_COLUMNS, TEXT_COLUMNS) if plain is None else placed(lambda: plain(2), str(file))


def _plain(file: Path) -> Any:
    """How a file of lines without a header is read, or None for a table."""
    if not file.is_file():
        raise UserError(f"{file} is a folder; give a file" if file.is_dir() else f"{file} does not exist; give a file of texts, or - for what is piped in")
    if ".txt" in file.suffixes[-2:]:
        return lambda most: _lines(file)
    if not form_of(file):
        raise UserError(f"{file} cannot be read: it must end in .txt, {', '.join(FORMS)}, or .gz after one of them but the last")
    if form_of(file) != ".tsv":
        return None
    first = [column.strip().lower() for _, line in islice(numbered_lines(file), 1) for column in line.split("\t")]
    if {*TEXT_COLUMNS} & {*first}:
        return None
    if {*HEADER} & {*first}:
        raise UserError(
            f"{file}:1 looks like a header ({', '.join(first)}), but no column is called {', '.join(TEXT_COLUMNS)}; rename the one of the texts, beside "
            f"one of the ids ({', '.join(dict.fromkeys((*ID_COLUMNS, *QUERY_ID_COLUMNS)))}), or remove the line"
        )
    return lambda most: _columns(file, most)


def _lines(file: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    for number, line in numbered_lines(file):
        if line.strip():
            yield f"{file}:{number}", (str(number), line.strip())


def _columns(file: Path, most: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    wanted = "id and text" if most == 2 else "id and text, or id, title and text"
    width = None
    for number, line in numbered_lines(file):
        columns = tuple(line.split("\t"))
        width = width or len(columns)
        if not 2 <= len(columns) <= most or len(columns) != width:
            raise UserError(f"{file}:{number} has {len(columns)} columns instead of {wanted} between tabs; correct the line, or give the file a header")
        yield f"{file}:{number}", columns
