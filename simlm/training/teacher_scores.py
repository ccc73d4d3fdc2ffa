"""Teacher scores of a student's training: written once, looked up by (query, passage), never by position."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simlm.errors import UserError
from simlm.training.groups import Groups
from simlm.training.spill import Spill

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class TeacherScores:
    """Raw cross-encoder logits by query number and passage row; they lie on disk.

    Attributes
    ----------
    rows, scores
        Of all queries one after the other; rows are sorted within a query.
    starts, ends
        Where each query of the groups begins and ends; equal where it has no scores.
    """

    groups: Groups
    rows: np.ndarray
    scores: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    source: Path
    student: str

    @classmethod
    def read(cls, path: Path, student: str, groups: Groups, folder: Path) -> TeacherScores:
        """Read what ``simlm score-teacher --model student`` wrote.

        Raises
        ------
        UserError
            If the file is missing, truncated or foreign.
        """
        from simlm.runs.lists import iter_lists, open_lists

        number = {query_id: i for i, query_id in enumerate(groups.query_ids)}
        starts, ends = np.zeros(len(groups), np.int64), np.zeros(len(groups), np.int64)
        rows, scores = Spill(np.int32, folder), Spill(np.float32, folder)
        with open_lists(path, _schema(), "a list of teacher scores", f"simlm score-teacher --model {student}") as file:
            for (query_ids,), (passages, values) in iter_lists(file, ["query_id"], ["passages", "scores"]):
                for query_id, own, logits in zip(query_ids, passages, values):
                    if len(own) != len(logits):
                        raise UserError(f"{path}: query '{query_id}' has {len(own)} passages but {len(logits)} scores; run simlm score-teacher again")
                    if not np.isfinite(logits).all():
                        raise UserError(f"{path}: a score of query '{query_id}' is not a number; train the teacher and run simlm score-teacher again")
                    if query_id in number:
                        order = np.argsort(own, kind="stable")
                        starts[number[query_id]], ends[number[query_id]] = rows.count, rows.count + len(own)
                        rows.append(own[order])
                        scores.append(logits[order])
        if not (ends > starts).any():
            raise UserError(f"{path} has no scores of this training's queries; run simlm score-teacher --model {student} again")
        return cls(groups, rows.finish(), scores.finish(), starts, ends, path, student)

    def of(self, query: int, passages: np.ndarray) -> np.ndarray:
        """Logits of ``passages`` for query number ``query``, float32, in the order asked for.

        Raises
        ------
        UserError
            If one of them was not scored.
        """
        scores = self.known(query, passages)
        if np.isnan(scores).any():
            missing = int(np.asarray(passages)[np.isnan(scores)][0])
            name = self.groups.query_ids[query]
            raise UserError(f"{self.source} has no score of passage {missing} for query '{name}'; run simlm score-teacher --model {self.student} again")
        return scores

    def known(self, query: int, passages: np.ndarray) -> np.ndarray:
        """As :meth:`of`, with NaN for passages that were not scored."""
        start, end = self.starts[query], self.ends[query]
        own = self.rows[start:end]
        places = np.searchsorted(own, passages)
        found = places < len(own)
        found[found] = own[places[found]] == np.asarray(passages)[found]
        scores = np.full(len(places), np.nan, np.float32)
        scores[found] = self.scores[start:end][places[found]]
        return scores


def scored_lists(query_ids: list[str], rows: np.ndarray, offsets: np.ndarray, scores: Iterable[np.ndarray]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(query id, rows, scores) of every query that has rows with a score.

    Parameters
    ----------
    scores
        Of each query's rows, query by query; NaN where there is none.

    >>> list(scored_lists(["a", "b"], np.array([4, 5, 6]), np.array([0, 2, 3]), [np.array([0.5, np.nan]), np.array([np.nan])]))
    [('a', array([4]), array([0.5]))]
    """
    for query, values in enumerate(scores):
        own, there = rows[offsets[query] : offsets[query + 1]], ~np.isnan(values)
        if there.any():
            yield query_ids[query], own[there], values[there]


def write_teacher_scores(path: Path, scored: Iterable[tuple[str, np.ndarray, np.ndarray]], about: dict[str, Any]) -> int:
    """Write (query id, rows, logits) of every query; returns the number of pairs."""
    from simlm.runs.lists import write_lists

    pairs = 0

    def counted() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        nonlocal pairs
        for query_id, rows, logits in scored:
            pairs += len(rows)
            yield query_id, rows, logits

    write_lists(path, _schema(), counted(), lambda: about)
    return pairs


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([("query_id", pa.string()), ("passages", pa.list_(pa.int32())), ("scores", pa.list_(pa.float32()))])
