"""Judgements from a file: TREC qrels, or the three columns of BEIR."""

from __future__ import annotations

from pathlib import Path

from simlm.errors import UserError
from simlm.files import first_bad_line

LARGEST_GRADE = 2**31 - 1
"""Tools below ir-measures hold grades as 32-bit numbers."""

Qrels = dict[str, dict[str, int]]
"""Query id → passage id → grade."""


def read_qrels(path: str | Path) -> Qrels:
    """Read ``query 0 passage grade`` (TREC) or ``query passage grade`` (BEIR, whose header line is skipped).

    Raises
    ------
    UserError
        With file and line, if the file is missing, empty, malformed or gives a pair two different grades.
    """
    path, qrels, form = Path(path), {}, 0
    try:
        with open(path, encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                fields = line.split()
                if not fields or (number == 1 and fields[-1] == "score"):
                    continue
                form = form or len(fields)
                try:
                    if form not in (3, 4) or len(fields) != form:
                        raise ValueError
                    query_id, passage_id, grade = fields[0], fields[-2], int(fields[-1])
                    if not -LARGEST_GRADE <= grade <= LARGEST_GRADE:
                        raise ValueError
                except ValueError:
                    raise UserError(
                        f"{path}:{number} is not a judgement (query, 0, passage, grade; or query, passage, grade as in BEIR); correct the line"
                    ) from None
                if qrels.setdefault(query_id, {}).setdefault(passage_id, grade) != grade:
                    raise UserError(f"{path}:{number}: passage '{passage_id}' is judged twice for query '{query_id}', with different grades; keep one")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; give a file of judgements") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}:{first_bad_line(path)} is not UTF-8 ({error.reason}), so these are no judgements; give a text file") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; give a file of judgements") from None
    if not qrels:
        raise UserError(f"{path} holds no judgements; give another file")
    return qrels
