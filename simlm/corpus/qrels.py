"""Judgements from a file, in every form in which the field ships them; the one reader that all stages share.

TREC's four columns (query, iteration, passage, grade), BEIR's three (query, passage, grade) with or without a header, and JSON
lines, CSV or Parquet with named columns. Grades are whole numbers, also where they are written ``1.0``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from simlm.corpus.records import Records, clean_grade, clean_id
from simlm.corpus.tables import Placed, csv_rows, form_of, open_table, placed
from simlm.errors import UserError, nearest
from simlm.lines import numbered_lines

Qrels = dict[str, dict[str, int]]
"""Query id → passage id → grade."""

QUERY_COLUMNS = ("query-id", "query_id", "queryid", "qid", "query", "topic", "topic_id")
PASSAGE_COLUMNS = (
    "corpus-id",
    "corpus_id",
    "docid",
    "doc_id",
    "doc-id",
    "docno",
    "pid",
    "passage_id",
    "passage-id",
    "document_id",
    "document-id",
    "did",
    "doc",
)
GRADE_COLUMNS = ("score", "relevance", "label", "rel", "grade", "relevancy", "judgement", "judgment")
"""Names of the columns, whatever their case."""

ENDINGS = (".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz", ".qrels", ".qrels.gz", ".txt", ".csv", ".csv.gz", ".parquet")
"""Endings of files of judgements, in the order in which they are looked for."""

_BLANKS = re.compile(r"[ \t]+")


def qrels_file(folder: Path, stem: str) -> Path | None:
    """The file of judgements called ``stem`` in a folder, whatever its form."""
    return next((file for ending in ENDINGS if (file := folder / (stem + ending)).is_file()), None)


def judgements(*files: Path) -> Records:
    """(query id, passage id, grade) of a file or of its shards, as they stand there; :func:`collect` checks and joins them.

    Raises
    ------
    UserError
        While reading, with file and line, at the first line of another form.
    """
    readers = [_reader(file) for file in files]
    return placed(lambda: chain.from_iterable(read() for read in readers), str(files[0]))


def _reader(file: Path) -> Callable[[], Placed]:
    if form_of(file) not in (".jsonl", ".json", ".parquet"):
        return lambda: _text_judgements(file)
    table = open_table([file])
    columns = {name.lower(): name for name in table.columns}
    wanted = [columns[name] for name in (_named(file, columns, names) for names in (QUERY_COLUMNS, PASSAGE_COLUMNS, GRADE_COLUMNS))]
    return lambda: table.read(wanted)


def collect(records: Iterable, what: str = "judgement") -> tuple[Qrels, dict[str, int], Counter[str]]:
    """Check judgements and join them by query.

    Returns
    -------
    Query id → passage id → grade, in the order of the file; the number of each query's first judgement; and counts of pairs that
    are judged more than once. Of contradicting grades the highest counts.

    Raises
    ------
    UserError
        With the place, at an id or a grade that is none.
    """
    records = Records.of(records, what)
    graded: Qrels = {}
    first: dict[str, int] = {}
    again: dict[tuple[str, str], bool] = {}
    for n, (query, passage, grade) in enumerate(records, 1):
        query, passage = clean_id(query, records.where, n, "query"), clean_id(passage, records.where, n, "passage")
        grade = clean_grade(grade, records.where, n)
        if query not in graded:
            graded[query], first[query] = {}, n
        known = graded[query].get(passage)
        if known is not None:
            again[query, passage] = again.get((query, passage), False) or known != grade
            grade = max(known, grade)
        graded[query][passage] = grade
    return graded, first, Counter("contradictory_judgements" if differs else "repeated_judgements" for differs in again.values())


def read_qrels(path: str | Path, say: Callable[[str], None] | None = None) -> Qrels:
    """The judgements of a file; ``say`` is told of contradicting ones.

    Raises
    ------
    UserError
        With file and line, if the file is missing, empty or malformed.
    """
    path = Path(path)
    graded, _, again = collect(judgements(path))
    if not graded:
        raise UserError(f"{path} holds no judgements; give another file")
    if say and (count := again["contradictory_judgements"]):
        say(f"caution: {path} judges {count:,} pairs of query and passage more than once with different grades; the highest counts")
    return graded


def _text_judgements(file: Path) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Lines of three or four columns, with or without a header that names them."""
    places: tuple[int, ...] = ()
    width = 0
    for number, fields in _fields(file):
        if not places:
            if _is_number(fields[-1]) and len(fields) in (3, 4):
                places, width = (0, len(fields) - 2, len(fields) - 1), len(fields)
            else:
                names = [field.strip().lower() for field in fields]
                if not set(names) & {*QUERY_COLUMNS, *PASSAGE_COLUMNS, *GRADE_COLUMNS}:
                    raise UserError(f"{file}:{number} {_NO_JUDGEMENT}, nor does it name such columns: {' '.join(fields)[:80]!r}")
                if double := next((name for name in names if names.count(name) > 1), None):
                    raise UserError(f"{file}:{number}: the column '{double}' is there twice; rename one")
                places = tuple(names.index(_named(file, names, wanted)) for wanted in (QUERY_COLUMNS, PASSAGE_COLUMNS, GRADE_COLUMNS))
                width = len(fields)
                continue
        if len(fields) != width:
            raise UserError(f"{file}:{number} {_NO_JUDGEMENT}, as the lines before: {' '.join(fields)[:80]!r}")
        yield f"{file}:{number}", tuple(fields[place] for place in places)


_NO_JUDGEMENT = "is not a judgement: it must hold query id, passage id and a whole-number grade (BEIR), or query id, 0, passage id and grade (TREC)"


def _fields(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Numbered lines cut at tabs where there are three or four columns of them, at commas in a CSV file, or else at blanks."""
    tabs = False
    try:
        first = next(((number, line) for number, line in numbered_lines(file) if line.strip()), None)
        if first and not _BLANKS.search(first[1].strip(" \t")) and "," in first[1]:
            yield from csv_rows(file)
            return
        for number, line in numbered_lines(file):
            # Blank lines hold no judgement that could be lost.
            if not line.strip():
                continue
            if first and number == first[0]:
                tabs = len(line.split("\t")) in (3, 4)
            yield number, line.split("\t") if tabs else _BLANKS.split(line.strip(" \t"))
    except FileNotFoundError:
        raise UserError(f"{file} does not exist; give a file of judgements") from None
    except IsADirectoryError:
        raise UserError(f"{file} is a folder; give a file of judgements") from None


def _named(file: Path, there: Iterable[str], names: tuple[str, ...]) -> str:
    there = list(there)
    for name in names:
        if name in there:
            return name
    raise UserError(f"{file}: no column is called {', '.join(names)}{nearest(names[0], there)} (there are {', '.join(there)}); rename one")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
