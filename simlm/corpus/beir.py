"""A folder in BEIR's layout: corpus.jsonl[.gz], queries.jsonl[.gz], qrels/<split>.tsv."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simlm.config.corpora import BeirFolder
from simlm.corpus.records import Collection, Judgement, Passage, Query, Records, Split
from simlm.errors import UserError, nearest
from simlm.files import sha256_file


def read_beir(block: BeirFolder) -> Collection:
    """Open the folder; files are read as they are asked for.

    Raises
    ------
    UserError
        If a file is missing, or, while reading, at the first malformed line.
    """
    folder = Path(block.path).expanduser()
    if not folder.is_dir():
        raise UserError(f"corpus.path: the folder {folder} does not exist; it must hold corpus.jsonl, queries.jsonl and qrels/")
    corpus, queries = _file(folder, "corpus"), _file(folder, "queries")
    passages = Records(lambda: _passages(corpus), lambda n: f"{corpus}:{n}")
    texts = Records(lambda: _queries(queries), lambda n: f"{queries}:{n}")
    splits, used = {}, [corpus, queries]
    for name, stem in block.splits.items():
        file = folder / "qrels" / f"{stem}.tsv"
        if not file.is_file():
            there = sorted(path.stem for path in (folder / "qrels").glob("*.tsv"))
            raise UserError(f"corpus.splits.{name}: {file} does not exist{nearest(stem, there)} (there are {', '.join(there) or 'no .tsv files'})")
        first = 2 if has_header(file) else 1
        splits[name] = Split(texts, Records(lambda file=file: _judgements(file), lambda n, file=file, first=first: f"{file}:{n + first - 1}"))
        used.append(file)
    facts = {"source": "beir", "files": {str(file.relative_to(folder)): sha256_file(file) for file in used}}
    return Collection(passages, splits, facts)


def _file(folder: Path, stem: str) -> Path:
    for name in (f"{stem}.jsonl", f"{stem}.jsonl.gz"):
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder} has neither {stem}.jsonl nor {stem}.jsonl.gz; put one there")


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines; empty ones are allowed at the end alone, so that the n-th item stands in the n-th line."""
    empty = 0
    number = 1
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else open(file, "rb") as stream:
            for number, line in enumerate(stream, 1):
                if not line.strip():
                    empty = empty or number
                    continue
                if empty:
                    raise UserError(f"{file}:{empty}: the line is empty; remove it")
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}:{number} is not UTF-8 ({error.reason}); convert the file") from None
    except (EOFError, zlib.error, OSError) as error:
        raise UserError(f"{file} cannot be read after line {number} ({error}); copy it again") from None


def _objects(file: Path, keys: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in _lines(file):
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{file}:{number} is not JSON ({error.msg} at column {error.colno}); each line must hold one object with the keys {', '.join(keys)}"
            ) from None
        except (ValueError, RecursionError):
            # Numbers of thousands of digits, thousands of brackets.
            raise UserError(f"{file}:{number} is not a flat JSON object with the keys {', '.join(keys)}") from None
        if not isinstance(value, dict):
            raise UserError(f"{file}:{number} is not a JSON object; each line must hold one with the keys {', '.join(keys)}")
        for key in ("_id", "text"):
            if key not in value:
                raise UserError(f"{file}:{number} lacks the key '{key}'{nearest(key, value)}")
        yield f"{file}:{number}", value


def _passages(file: Path) -> Iterator[Passage]:
    for _, value in _objects(file, ("_id", "title", "text")):
        title = value.get("title")
        yield value["_id"], "" if title is None else title, value["text"]


def _queries(file: Path) -> Iterator[Query]:
    for _, value in _objects(file, ("_id", "text")):
        yield value["_id"], value["text"]


def has_header(file: Path) -> bool:
    """Whether the first line of a qrels file names its columns, as BEIR's do."""
    first = next(_lines(file), None)
    return first is not None and not _is_grade(first[1].rstrip("\r\n").split("\t")[-1])


def _is_grade(text: str) -> bool:
    return text.strip().lstrip("+-").isdecimal()


def _judgements(file: Path) -> Iterator[Judgement]:
    header = has_header(file)
    for number, line in _lines(file):
        if header and number == 1:
            continue
        columns = line.rstrip("\r\n").split("\t")
        if len(columns) != 3 or not _is_grade(columns[2]) or len(columns[2]) > 20:
            raise UserError(f"{file}:{number} must hold query id, passage id and a whole-number grade, separated by tabs, not {line.strip()[:80]!r}")
        yield columns[0], columns[1], int(columns[2])
