"""Files of records in the forms of the field: JSON lines, TSV, CSV and Parquet, each item with its place.

TSV has no quoting: a quotation mark is a character like any other, as in the files of MS MARCO, BEIR and TREC. In TSV and CSV
every column is text, so that the id ``0003`` and the title ``NA`` stay what they are.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from simlm.corpus.records import Records
from simlm.errors import UserError, nearest
from simlm.lines import LONGEST, numbered_lines

FORMS = (".jsonl", ".json", ".tsv", ".csv", ".parquet")
"""Endings of the files that can be read; all but Parquet may be gzipped (``.jsonl.gz``)."""

BATCH = 1000
LOOKED_AT = 100
"""Objects of a JSON file whose keys are its columns."""

Row = dict[str, Any]
Placed = Iterator[tuple[str, tuple[Any, ...]]]
"""Values of a row with its place, ``file:line``."""


def form_of(file: Path) -> str:
    """The ending that says how a file is read, or ``""``.

    >>> form_of(Path("corpus.tsv.gz")), form_of(Path("README.md"))
    ('.tsv', '')
    """
    ending = Path(file.stem).suffix if file.suffix == ".gz" else file.suffix
    return ending if ending in FORMS and not (ending == ".parquet" and file.suffix == ".gz") else ""


@dataclass(frozen=True)
class Table:
    """Rows of one or more files of the same columns.

    Attributes
    ----------
    columns
        Names of the columns.
    read
        Column names → (place, tuple of their values) of every row; the value of an absent key is None.
    name
        What the files are called in messages.
    """

    columns: list[str]
    read: Callable[[list[str]], Placed]
    name: str

    def column(self, names: tuple[str, ...]) -> str:
        """The first of ``names`` that the table has.

        Raises
        ------
        UserError
            If it has none of them.
        """
        if (found := self.find(names)) is not None:
            return found
        if not self.columns:
            raise UserError(f"'{self.name}' is empty; it must have the column {names[0]}")
        first = ", for its first line must name them" if self.name.endswith((".tsv", ".csv", ".gz")) else ""
        raise UserError(f"'{self.name}' has none of the columns {', '.join(names)} (it has {', '.join(self.columns)}); rename one{first}")

    def find(self, names: tuple[str, ...]) -> str | None:
        """The first of ``names`` that the table has, whatever its case, as it is written there."""
        there = {column.lower(): column for column in reversed(self.columns)}
        return next((name if name in self.columns else there[name] for name in names if name in there), None)

    def records(self, *wanted: tuple[str, ...]) -> Records:
        """Tuples of the wanted columns, each given by the names it may have."""
        columns = [self.column(names) for names in wanted]
        return placed(lambda: self.read(columns), self.name)


def placed(read: Callable[[], Iterator[tuple[str, Any]]], name: str) -> Records:
    """Records whose places are found, when a message needs one, by reading again."""

    def where(n: int) -> str:
        return next(islice((place for place, _ in read()), n - 1, None), name)

    return Records(lambda: (item for _, item in read()), where)


def open_table(files: list[Path]) -> Table:
    """A table of files that all have the columns of the first.

    Raises
    ------
    UserError
        If a file has no known ending; while reading, at the first malformed line.
    """
    for file in files:
        if not form_of(file):
            raise UserError(f"{file} cannot be read: it must end in {', '.join(FORMS)}, or .gz after one of them but the last")
    first = files[0]

    def read(columns: list[str]) -> Placed:
        for file in files:
            yield from _READERS[form_of(file)](file, columns)

    return Table(_columns(first), read, str(first if len(files) == 1 else first.parent))


def text_lines(file: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines; empty ones are allowed at the end alone, so that no record is lost without a word."""
    empty = 0
    try:
        for number, line in numbered_lines(file):
            if not line.strip():
                empty = empty or number
                continue
            if empty:
                raise UserError(f"{file}:{empty}: the line is empty; remove it")
            yield number, line
    except FileNotFoundError:
        raise UserError(f"{file} does not exist; give another file") from None
    except IsADirectoryError:
        raise UserError(f"{file} is a folder; give a file") from None


def json_objects(file: Path, keys: tuple[str, ...] = ()) -> Iterator[tuple[int, Row]]:
    """Numbered objects of a file of JSON lines; ``keys`` are named in messages."""
    what = f"with the keys {', '.join(keys)}" if keys else "with the columns as keys"
    for number, line in text_lines(file):
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{file}:{number} is not JSON ({error.msg} at column {error.colno}); each line must hold one object {what}") from None
        except (ValueError, RecursionError):
            # Numbers of thousands of digits, thousands of brackets.
            raise UserError(f"{file}:{number} is not a flat JSON object {what}") from None
        if not isinstance(value, dict):
            raise UserError(f"{file}:{number} is not a JSON object; each line must hold one {what}")
        yield number, value


def delimited(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Numbered rows of a TSV or CSV file, its header first; all have as many columns as the header.

    Raises
    ------
    UserError
        With file and line, where columns are missing or too many, or a quotation of a CSV file is left open.
    """
    rows = _tsv(file) if form_of(file) == ".tsv" else csv_rows(file)
    header: list[str] | None = None
    for number, row in rows:
        if header is None:
            header = row
        elif len(row) != len(header):
            raise UserError(f"{file}:{number} has {len(row)} columns, but the header has {len(header)} ({', '.join(header)}); correct the line")
        yield number, row


def _tsv(file: Path) -> Iterator[tuple[int, list[str]]]:
    empty = 0
    for number, line in numbered_lines(file):
        if empty and line:
            raise UserError(f"{file}:{empty}: the line is empty; remove it")
        # A line of tabs alone is a row of empty columns.
        if line:
            yield number, line.split("\t")
        else:
            empty = empty or number


def csv_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV file (RFC 4180), each with the line where it begins."""
    csv.field_size_limit(LONGEST)
    begins = 1
    rows = csv.reader((line + "\n" for _, line in numbered_lines(file)), strict=True)
    try:
        for row in rows:
            if row:
                yield begins, row
            begins = rows.line_num + 1
    except csv.Error as error:
        reason = "a quotation is left open" if "unexpected end" in str(error) or "field larger" in str(error) else str(error)
        raise UserError(f"{file}:{begins} is not CSV ({reason}); correct the line, or name the file .tsv if it has tabs and no quoting") from None


def _columns(file: Path) -> list[str]:
    if form_of(file) == ".parquet":
        return _parquet(file).schema_arrow.names
    if form_of(file) in (".tsv", ".csv"):
        header = next(delimited(file), (1, []))[1]
        double = next((name for name in header if header.count(name) > 1), None)
        if double is not None:
            raise UserError(f"{file}:1: the column '{double}' is there twice; rename one")
        return header
    return list(dict.fromkeys(chain.from_iterable(value for _, value in islice(_json(file), LOOKED_AT))))


def _read_delimited(file: Path, columns: list[str]) -> Placed:
    rows = delimited(file)
    _, header = next(rows, (1, []))
    _same_columns(file, columns, header)
    places = [header.index(name) for name in columns]
    for number, row in rows:
        yield f"{file}:{number}", tuple(row[place] for place in places)


def _read_json(file: Path, columns: list[str]) -> Placed:
    for number, value in _json(file):
        yield f"{file}:{number}", tuple(value.get(name) for name in columns)


def _json(file: Path) -> Iterator[tuple[int, Row]]:
    """Objects of a file of JSON lines, or of one JSON list."""
    first = next(((number, line) for number, line in text_lines(file)), None)
    if form_of(file) != ".json" or first is None or not first[1].lstrip().startswith("["):
        yield from json_objects(file)
        return
    try:
        values = json.loads("\n".join(line for _, line in numbered_lines(file)))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not JSON ({error}); it must hold one list of objects, or one object a line") from None
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise UserError(f"{file}: item {number} is not a JSON object with the columns as keys")
        yield number, value


def _parquet(file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} is truncated or not Parquet ({str(error).splitlines()[0]}); copy it again") from None


def _read_parquet(file: Path, columns: list[str]) -> Placed:
    import pyarrow as pa

    opened, number = _parquet(file), 0
    _same_columns(file, columns, opened.schema_arrow.names)
    try:
        for batch in opened.iter_batches(BATCH, columns=columns):
            for values in zip(*(batch.column(name).to_pylist() for name in columns)):
                number += 1
                yield f"{file}, row {number}", values
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} cannot be read after row {number} ({str(error).splitlines()[0]}); copy it again") from None


def _same_columns(file: Path, columns: Iterable[str], there: list[str]) -> None:
    for name in columns:
        if name not in there:
            raise UserError(f"{file} has no column '{name}'{nearest(name, there)} (it has {', '.join(there)}); rename one")


_READERS: dict[str, Callable[[Path, list[str]], Placed]] = {
    ".jsonl": _read_json,
    ".json": _read_json,
    ".tsv": _read_delimited,
    ".csv": _read_delimited,
    ".parquet": _read_parquet,
}
