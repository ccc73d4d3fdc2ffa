"""Files of judged runs: averages as JSON, values per query as TSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from simlm.errors import UserError
from simlm.evaluation.metrics import Evaluation
from simlm.files import first_bad_line, write_json, write_text

MADE_BY = "simlm evaluate"


def write_evaluation(averages: Path, per_query: Path, evaluation: Evaluation, facts: dict[str, Any]) -> None:
    """Write ``<split>.per_query.tsv`` and then ``<split>.json`` (``facts``, counts and ``metrics``)."""
    names = list(evaluation.values)
    lines = ["\t".join(["query_id", *names])]
    columns = [evaluation.values[name].tolist() for name in names]
    lines += ["\t".join([query_id, *map(repr, values)]) for query_id, *values in zip(evaluation.query_ids, *columns)]
    write_text(per_query, "\n".join(lines) + "\n")
    counts = {"n_queries": len(evaluation.query_ids), "missing_queries": evaluation.missing, "ignored_queries": evaluation.ignored}
    write_json(averages, {**facts, **counts, "metrics": evaluation.averages})


def read_per_query(path: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """Query ids and, by metric name, the values aligned with them.

    Raises
    ------
    UserError
        If the file is missing, truncated or malformed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run {MADE_BY} first") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}:{first_bad_line(path)} is not UTF-8; delete it and run {MADE_BY} again") from None
    rows = [line.split("\t") for line in text.split("\n")]
    header = rows[0]
    try:
        if header[0] != "query_id" or rows.pop() != [""] or any(len(row) != len(header) for row in rows):
            raise ValueError
        table = np.array([[float(value) for value in row[1:]] for row in rows[1:]]).reshape(len(rows) - 1, len(header) - 1)
    except ValueError:
        raise UserError(f"{path} is truncated or not a table of metrics per query; delete it and run {MADE_BY} again") from None
    return [row[0] for row in rows[1:]], {name: table[:, i] for i, name in enumerate(header[1:])}
