"""Judgements from a file: TREC qrels, or the three columns of BEIR."""

from __future__ import annotations

from pathlib import Path

from simlm.errors import UserError

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
        with open(path, encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                fields = line.split()
                if not fields or (number == 1 and fields[-1] == "score"):
                    continue
                form = form or len(fields)
                try:
                    if form not in (3, 4) or len(fields) != form:
                        raise ValueError
                    query_id, passage_id, grade = fields[0], fields[-2], int(fields[-1])
                except ValueError:
                    raise UserError(
                        f"{path}:{number} is not a judgement (query, 0, passage, grade; or query, passage, grade as in BEIR); correct the line"
                    ) from None
                if qrels.setdefault(query_id, {}).setdefault(passage_id, grade) != grade:
                    raise UserError(f"{path}:{number}: passage '{passage_id}' is judged twice for query '{query_id}', with different grades; keep one")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; give a file of judgements") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a file of judgements ({error}); give a text file") from None
    if not qrels:
        raise UserError(f"{path} holds no judgements; give another file")
    return qrels
