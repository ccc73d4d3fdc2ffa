"""What a training saw of a query: its positives, its mined negatives and the teacher's scores, to judge whether a negative is really wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlm.config.jobs import teachers_of
from simlm.errors import UserError, nearest, one_line

if TYPE_CHECKING:
    from simlm.config import Experiment
    from simlm.corpus.store import CorpusStore
    from simlm.paths import Paths

LOOKED_AT = 2000
"""Queries among which the doubtful ones are looked for, from the beginning of the file."""
SHOWN = 12
"""Queries offered as a start."""


@dataclass(frozen=True)
class Seen:
    """One passage of a training query.

    Attributes
    ----------
    score
        The teacher's logit, where there is a teacher and the training visits the passage.
    above
        Whether the teacher prefers this negative to every positive.
    """

    id: str
    title: str
    text: str
    score: float | None
    above: bool = False


@dataclass(frozen=True)
class TrainingQuery:
    """A training query as a model's training sees it; negatives by the teacher's score, those without one last."""

    query_id: str
    text: str
    positives: list[Seen]
    negatives: list[Seen]


def students(experiment: Experiment) -> list[str]:
    """Models trained on mined negatives, those with a teacher first, the last of the chain before the others."""
    names = [name for name, model in experiment.models.items() if model.reads_negatives()]
    return sorted(names, key=lambda name: (not teachers_of(experiment.models[name]), -names.index(name)))


class TrainingView:
    """Reads the lists of one experiment; a query is read from its file when it is asked for."""

    def __init__(self, experiment: Experiment, paths: Paths, store: CorpusStore) -> None:
        self.experiment, self.paths, self.store = experiment, paths, store
        self._queries: dict[str, str] | None = None

    @property
    def queries(self) -> dict[str, str]:
        """Id → text of the training queries."""
        if self._queries is None:
            self._queries = self.store.queries("train")
        return self._queries

    def student(self, name: str | None) -> str:
        """The model that is looked at.

        Raises
        ------
        UserError
            If there is none, or none is called so.
        """
        there = students(self.experiment)
        if not there:
            raise UserError(f"no model of '{self.experiment.name}' is trained on mined negatives")
        if name and name not in there:
            raise UserError(f"no model with mined negatives is called '{name}'{nearest(name, there)} (there are {', '.join(there)})")
        return name or there[0]

    def find(self, words: str) -> list[tuple[str, str]]:
        """(id, text) of at most :data:`SHOWN` training queries that hold all words."""
        wanted = words.lower().split()
        found = ((query_id, text) for query_id, text in self.queries.items() if all(word in text.lower() for word in wanted))
        return [pair for pair, _ in zip(found, range(SHOWN))]

    def doubtful(self, student: str) -> list[tuple[str, str]]:
        """Queries whose teacher most prefers a mined negative to the positives; without a teacher the first ones."""
        scores = self.paths.teacher_scores(student)
        if not scores.exists():
            return self.find("")
        positives = dict(zip(*_columns(self._negatives(student), ("query_id", "positives"), LOOKED_AT)))
        gaps = []
        for query_id, rows, values in zip(*_columns(scores, ("query_id", "passages", "scores"), LOOKED_AT)):
            right = set(positives.get(query_id, ()))
            of_right = [value for row, value in zip(rows, values) if row in right]
            of_wrong = [value for row, value in zip(rows, values) if row not in right]
            if of_right and of_wrong:
                gaps.append((max(of_right) - max(of_wrong), query_id))
        return [(query_id, self.queries.get(query_id, query_id)) for _, query_id in sorted(gaps)[:SHOWN]]

    def look(self, student: str, query_id: str) -> TrainingQuery:
        """What the training of ``student`` sees of a query.

        Raises
        ------
        UserError
            If there is no such training query, or it was left out of the training.
        """
        if query_id not in self.queries:
            raise UserError(f"there is no training query with the id '{query_id[:80]}'")
        row = _row(self._negatives(student), query_id)
        if row is None:
            raise UserError(f"the query '{query_id}' is not in {self._negatives(student)}: it has no positive, or nothing was found for it")
        scores: dict[int, float] = {}
        if self.paths.teacher_scores(student).exists() and (scored := _row(self.paths.teacher_scores(student), query_id)):
            scores = dict(zip(scored["passages"], scored["scores"]))
        best = max((scores[passage] for passage in row["positives"] if passage in scores), default=None)
        negatives = sorted(row["negatives"], key=lambda passage: -scores.get(passage, float("-inf")))
        return TrainingQuery(query_id, self.queries[query_id], self._seen(row["positives"], scores, None), self._seen(negatives, scores, best))

    def _seen(self, rows: list[int], scores: dict[int, float], best: float | None) -> list[Seen]:
        ids, (titles, texts) = self.store.ids(rows), self.store.texts(rows)
        return [
            Seen(own, title, text, scores.get(row), best is not None and scores.get(row, float("-inf")) > best)
            for row, own, title, text in zip(rows, ids, titles, texts)
        ]

    def _negatives(self, student: str) -> Path:
        file = self.paths.negatives(str(self.experiment.models[student].reads_negatives()))
        if not file.exists():
            raise UserError(f"{file} does not exist: negatives have not been mined yet")
        return file


def _row(file: Path, query_id: str) -> dict[str, Any] | None:
    """The line of a query in a list (Parquet), or None."""
    import pyarrow.parquet as pq

    with _readable(file):
        found = pq.read_table(file, filters=[("query_id", "=", query_id)]).to_pylist()
    return found[0] if found else None


def _columns(file: Path, names: tuple[str, ...], most: int) -> list[list[Any]]:
    """The first lines of some columns of a list."""
    import pyarrow.parquet as pq

    with _readable(file), pq.ParquetFile(file) as source:
        batch = next(source.iter_batches(most, columns=list(names)), None)
        return [batch.column(name).to_pylist() if batch is not None else [] for name in names]


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, KeyError) as error:
        raise UserError(f"{file} is damaged or no list of ours ({one_line(str(error))[:120]}); delete it and run the workflow again") from None
