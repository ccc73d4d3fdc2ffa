"""Groups of one positive and some hard negatives per query, and which of them an epoch sees."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simlm.errors import UserError
from simlm.training.randomness import uniform
from simlm.training.spill import Spill

if TYPE_CHECKING:
    from simlm.corpus.store import CorpusStore

POSITIVES, NEGATIVES, HOLDOUT = 101, 102, 103
"""Streams of random numbers (see :func:`simlm.training.randomness.uniform`)."""


def query_key(query_id: str) -> int:
    """A 64-bit number for a query id, the same everywhere.

    >>> query_key("q1") == query_key("q1"), query_key("q1") == query_key("q2")
    (True, False)
    """
    return int.from_bytes(blake2b(query_id.encode(), digest_size=8).digest(), "little")


def visits(
    seed: int, epoch: int, query_id: str, positives: Sequence[int], negatives: Sequence[int], n: int, rotation: str = "shuffled"
) -> tuple[int, np.ndarray]:
    """The positive and the ``n`` hard negatives that a query's training sees in an epoch.

    A pure function of its arguments. Epoch ``e`` takes positive ``e`` and the negatives ``e n … e n + n - 1``,
    both modulo the length of their list, so a list shorter than ``n`` is walked round more than once.

    Parameters
    ----------
    positives, negatives
        Corpus rows; ``negatives`` may be empty only if ``n`` is 0.
    rotation
        ``shuffled`` walks through a shuffle of either list drawn from (seed, query), so that all are seen in turn;
        ``offset`` is the authors' code: the lists as they are, starting at ``epoch + seed`` for every query.

    Returns
    -------
    int, numpy.ndarray
        Row of the positive; int64 rows of the negatives, shape (n,).

    >>> visits(2, 1, "q", [7], [10, 11, 12, 13], 2, "offset")
    (7, array([12, 13]))
    >>> seen = [visits(2, epoch, "q", [7], [10, 11, 12, 13], 2)[1].tolist() for epoch in (0, 1)]
    >>> sorted(seen[0] + seen[1])
    [10, 11, 12, 13]
    """
    return _walk(_Lists(seed, query_key(query_id), np.asarray(positives), np.asarray(negatives), rotation), seed, epoch, n, rotation)


class _Lists:
    """A query's positives and negatives in the order in which they are walked through."""

    def __init__(self, seed: int, key: int, positives: np.ndarray, negatives: np.ndarray, rotation: str) -> None:
        self.positives, self.negatives = positives, negatives
        if rotation == "shuffled":
            self.positives = positives[_shuffle(seed, POSITIVES, key, len(positives))]
            self.negatives = negatives[_shuffle(seed, NEGATIVES, key, len(negatives))]


def _shuffle(seed: int, stream: int, key: int, length: int) -> np.ndarray:
    if length < 2:
        return np.arange(length)
    return np.argsort(uniform(seed, stream, np.array([[key]], np.uint64), length)[0], kind="stable")


def _walk(lists: _Lists, seed: int, epoch: int, n: int, rotation: str) -> tuple[int, np.ndarray]:
    step = epoch + seed if rotation == "offset" else epoch
    positive = int(lists.positives[step % len(lists.positives)])
    if n == 0:
        return positive, np.zeros(0, np.int64)
    places = (step * n + np.arange(n)) % len(lists.negatives)
    return positive, lists.negatives[places].astype(np.int64)


@dataclass(frozen=True)
class Groups:
    """Training queries with their positives and negatives; the lists lie on disk.

    Attributes
    ----------
    query_ids
        External ids, shape (queries,).
    keys
        :func:`query_key` of each.
    positives, negatives
        Corpus rows of all queries, one query after the other.
    positive_offsets, negative_offsets
        Where each query's rows begin, shape (queries + 1,).
    about
        What the file says about itself, and the counts of dropped queries.
    """

    query_ids: list[str]
    keys: np.ndarray
    positives: np.ndarray
    positive_offsets: np.ndarray
    negatives: np.ndarray
    negative_offsets: np.ndarray
    about: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.query_ids)

    def positives_of(self, query: int) -> np.ndarray:
        """Rows of all positives of query number ``query``."""
        return self.positives[self.positive_offsets[query] : self.positive_offsets[query + 1]]

    def negatives_of(self, query: int) -> np.ndarray:
        """Rows of all listed negatives of query number ``query``."""
        return self.negatives[self.negative_offsets[query] : self.negative_offsets[query + 1]]

    def visit(self, seed: int, epoch: int, query: int, n: int, rotation: str) -> np.ndarray:
        """:func:`visits` of query number ``query``: int64 rows, shape (1 + n,), the positive first."""
        positive, negatives = _walk(self._lists(seed, query, rotation), seed, epoch, n, rotation)
        return np.concatenate([[positive], negatives])

    def visited(self, seed: int, epochs: Iterable[int], query: int, n: int, rotation: str) -> np.ndarray:
        """All rows that some epochs see of a query, sorted, each once."""
        lists = self._lists(seed, query, rotation)
        parts = [_walk(lists, seed, epoch, n, rotation) for epoch in epochs]
        return np.unique(np.concatenate([np.array([positive for positive, _ in parts]), *(negatives for _, negatives in parts)]))

    def holdout(self, seed: int, wanted: int) -> np.ndarray:
        """Numbers of the queries kept out, whose loss is looked at: ``wanted``, at most a tenth; sorted.

        Which ones depends on the seed and the ids alone, so models with one seed keep the same.
        """
        count = min(wanted, len(self) // 10)
        return np.sort(np.argsort(uniform(seed, HOLDOUT, self.keys[:, None], 1)[:, 0], kind="stable")[:count])

    def where(self, positives: np.ndarray, negatives: np.ndarray) -> Groups:
        """The same queries under the same numbers with a part of their lists: masks of all positives and of all negatives."""
        places = [np.concatenate([[0], np.cumsum(kept)]) for kept in (positives, negatives)]
        return replace(
            self,
            positives=self.positives[positives],
            positive_offsets=places[0][self.positive_offsets],
            negatives=self.negatives[negatives],
            negative_offsets=places[1][self.negative_offsets],
        )

    def _lists(self, seed: int, query: int, rotation: str) -> _Lists:
        return _Lists(seed, int(self.keys[query]), self.positives_of(query), self.negatives_of(query), rotation)


def read_groups(path: Path, store: CorpusStore, n: int, folder: Path) -> Groups:
    """Groups from a list of mined negatives.

    Queries without a positive, or without a negative while ``n`` > 0, are dropped and counted.

    Parameters
    ----------
    n
        Hard negatives per query and step.
    folder
        Where the lists are kept while the process runs.

    Raises
    ------
    UserError
        If the file is missing, truncated, foreign, made from another corpus, or lists a positive among the negatives.
    """
    from simlm.runs.negatives import negatives_metadata, read_negatives

    again = f"delete it and run simlm mine-negatives --model {path.stem} again"
    about = negatives_metadata(path)
    if about.get("corpus_sha256", store.sha256) != store.sha256:
        raise UserError(f"{path} was made from another corpus; {again}")
    columns, known = _Columns(folder), store.queries("train")
    for query_id, positives, negatives in read_negatives(path):
        if query_id not in known:
            raise UserError(f"{path}: there is no training query '{query_id}' in the corpus; {again}")
        if len(positives) and len(negatives) and np.isin(negatives, positives).any():
            raise UserError(f"{path}: query '{query_id}' lists one of its positives as a negative; {again}")
        columns.add(query_id, positives, negatives, n)
    return columns.finish(path, len(store), about)


def groups_without_negatives(store: CorpusStore, folder: Path) -> Groups:
    """Groups of the training queries' positives alone: the other queries' passages are the only negatives."""
    columns = _Columns(folder)
    positives = store.positives("train")
    for query_id in store.queries("train"):
        columns.add(query_id, np.array(positives.get(query_id, []), np.int64), np.zeros(0, np.int64), 0)
    return columns.finish(store.folder, len(store), {})


class _Columns:
    """Collects groups query by query."""

    def __init__(self, folder: Path) -> None:
        self.query_ids: list[str] = []
        self.rows = {name: Spill(np.int32, folder) for name in ("positives", "negatives")}
        self.lengths: dict[str, list[int]] = {"positives": [], "negatives": []}
        self.pending: dict[str, list[np.ndarray]] = {"positives": [], "negatives": []}
        self.dropped = {"without_positive": 0, "without_negative": 0}

    def add(self, query_id: str, positives: np.ndarray, negatives: np.ndarray, n: int) -> None:
        if not len(positives):
            self.dropped["without_positive"] += 1
            return
        if n and not len(negatives):
            self.dropped["without_negative"] += 1
            return
        self.query_ids.append(query_id)
        for name, values in (("positives", positives), ("negatives", negatives)):
            self.lengths[name].append(len(values))
            self.pending[name].append(values)
        if len(self.pending["positives"]) >= 4096:
            self._write()

    def _write(self) -> None:
        for name, parts in self.pending.items():
            if parts:
                self.rows[name].append(np.concatenate(parts))
                parts.clear()

    def finish(self, source: Path, passages: int, about: dict[str, Any]) -> Groups:
        self._write()
        arrays = {name: spill.finish() for name, spill in self.rows.items()}
        for values in arrays.values():
            if len(values) and not 0 <= int(values.min()) <= int(values.max()) < passages:
                raise UserError(f"{source} names passages that the corpus does not have ({passages:,} passages); make it again")
        if not self.query_ids:
            raise UserError(f"{source} leaves no training query ({json.dumps(self.dropped)} dropped); check the judgements of the split 'train'")
        offsets = {name: np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64) for name, lengths in self.lengths.items()}
        keys = np.array([query_key(query_id) for query_id in self.query_ids], np.uint64)
        about = {**about, "dropped_in_training": self.dropped, "queries": len(self.query_ids)}
        return Groups(self.query_ids, keys, arrays["positives"], offsets["positives"], arrays["negatives"], offsets["negatives"], about)
