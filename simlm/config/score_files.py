"""Files of a teacher's scores in the forms in which the field ships them, told apart by how they begin; nothing is ever unpickled.

=================  ====================================================================================================
``trec``           query, ``Q0``, passage, rank, score, tag: runs, such as those of Rank-DistiLLM for lightning-ir
``columns``        query, passage and score, as columns of TSV, CSV or Parquet or keys of JSON lines (sentence-transformers)
``bare``           the same three, separated by tabs or blanks, without a header
``tevatron``       JSON lines with ``query_id``, ``positive_passages`` and ``negative_passages``, each passage with a ``score``
``hard_negatives`` JSON lines with ``qid``, ``pos`` and ``neg`` (by system), each passage with a ``ce-score`` (sentence-transformers)
``nested``         JSON of query → passage → score, in one object or one a line: sentence-transformers' pickled dictionary, as JSON
=================  ====================================================================================================
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from simlm.errors import UserError
from simlm.lines import numbered_lines

QUERY = ("query_id", "query-id", "qid", "query", "queryid", "topic")
PASSAGE = ("passage_id", "passage-id", "pid", "docid", "doc_id", "corpus-id", "corpus_id", "passage", "docno", "document_id", "did")
SCORE = ("score", "ce-score", "ce_score", "cross_encoder_score", "teacher_score", "label", "similarity")
"""Names of the columns and keys, whatever their case; the first that is there counts."""

_PICKLED = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib")


def form_of_scores(path: str | Path) -> str:
    """Which of the forms above a file has, from its beginning.

    Raises
    ------
    UserError
        If there is no such file, if it is pickled, or if it begins like none of them.
    """
    file = Path(path).expanduser()
    try:
        begin = _begin(file)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; give a file of a teacher's scores") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; give a file of a teacher's scores") from None
    except (EOFError, zlib.error, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}); copy it again") from None
    plain = file.with_suffix("") if file.suffix == ".gz" else file
    # Protocols 2 to 5 of pickle, and the archive that torch writes.
    if plain.suffix in _PICKLED or (begin[:1] == b"\x80" and begin[1:2] in b"\x02\x03\x04\x05") or begin[:2] == b"PK":
        raise UserError(f"{path} is pickled, and to read it could run any program; load it where you trust it and write it as JSON (query → passage → score)")
    if begin[:4] == b"PAR1":
        return _of_parquet(file)
    if not begin.strip():
        raise UserError(f"{path} is empty; give a file of a teacher's scores")
    line = next((text for _, text in numbered_lines(file) if text.strip()), "")
    form = _of_json(line) if line.lstrip()[:1] == "{" else _of_text(line)
    if form is None:
        raise UserError(
            f"{path} is no file of scores: it begins with {line.strip()[:60]!r}; known are TREC runs, query, passage and score as TSV, CSV, Parquet or JSON "
            "lines, Tevatron's JSON lines with a score at each passage, and JSON of query → passage → score"
        )
    return form


def find(names: Iterable[str], wanted: tuple[str, ...]) -> str | None:
    """The first of the ``wanted`` names that is there, whatever its case, as it is written there."""
    there = {name.strip().lower(): name for name in names}
    return next((there[name] for name in wanted if name in there), None)


def _begin(file: Path) -> bytes:
    with open(file, "rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        return (gzip.GzipFile(fileobj=plain) if packed else plain).read(64)


def _of_parquet(file: Path) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(file).names
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} is truncated or not Parquet ({str(error).splitlines()[0]}); copy it again") from None
    if file.suffix != ".parquet" or not all(find(names, wanted) for wanted in (QUERY, PASSAGE, SCORE)):
        raise UserError(f"{file} must be called .parquet and have columns query_id, passage_id and score (it has {', '.join(names)}); rename them")
    return "columns"


def _of_json(line: str) -> str | None:
    if line.strip() == "{":
        return "nested"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        # An object that goes on below.
        return "nested" if '":' in line or '" :' in line else None
    if not isinstance(value, dict):
        return None
    if "positive_passages" in value or "negative_passages" in value:
        return "tevatron" if _scored([*_list(value.get("positive_passages")), *_list(value.get("negative_passages"))]) else None
    if "pos" in value and "neg" in value:
        groups = value["neg"].values() if isinstance(value["neg"], dict) else [value["neg"]]
        return "hard_negatives" if _scored([*_list(value["pos"]), *(passage for group in groups for passage in _list(group))]) else None
    if all(find(value, names) for names in (QUERY, PASSAGE, SCORE)):
        return "columns"
    return "nested" if value and all(isinstance(inner, dict) for inner in value.values()) else None


def _list(value: Any) -> list:
    return value if isinstance(value, list) else []


def _scored(passages: list) -> bool:
    return any(isinstance(passage, dict) and find(passage, SCORE) for passage in passages)


def _of_text(line: str) -> str | None:
    fields = line.split()
    if len(fields) == 6 and _number(fields[4]):
        return "trec"
    for cut in ("\t", ","):
        names = line.split(cut)
        if len(names) >= 3 and all(find(names, wanted) for wanted in (QUERY, PASSAGE, SCORE)):
            return "columns"
    return "bare" if len(fields) == 3 and _number(fields[2]) else None


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
