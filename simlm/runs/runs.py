"""Runs: per query the retrieved passages with their scores, as Parquet (training) or TREC files (evaluated splits).

Every run is ordered best first by ``(-score, row)``: where scores are equal the passage with the smaller row comes
first, so that a run never depends on how it was computed. Scores keep full precision (``repr`` of the number), because
tools that read rounded scores break the new ties by passage id.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from simlm.errors import UserError
from simlm.files import atomic_file
from simlm.lines import numbered_blocks

if TYPE_CHECKING:
    import pyarrow as pa

    from simlm.corpus.store import CorpusStore

SMALL_CORPUS = 200_000
"""Corpora up to this size have all their external ids in memory while a TREC run is written."""


class Ranking(NamedTuple):
    """The passages retrieved for one query: rows (int32) and scores (float32 or float64), best first."""

    query_id: str
    passages: np.ndarray
    scores: np.ndarray


class TrecRanking(NamedTuple):
    """One query of a TREC run: external passage ids and scores (float64), in the order of the file's lines."""

    query_id: str
    ids: list[str]
    scores: np.ndarray


def best_first(passages: np.ndarray, scores: np.ndarray, k: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Order one query's passages by ``(-score, row)`` and keep the best ``k``.

    >>> best_first(np.array([7, 3, 5]), np.array([1.0, 1.0, 2.0]))
    (array([5, 3, 7]), array([2., 1., 1.]))
    """
    passages, scores = np.asarray(passages), np.asarray(scores)
    if np.isnan(scores).any():
        raise UserError("a score is not a number (NaN); the model that gave it did not train well, look at its losses")
    order = np.lexsort((passages, -scores))[:k]
    return passages[order], scores[order]


def write_train_run(path: str | Path, rankings: Iterable[Ranking], *, system: str, depth: int, corpus_sha256: str) -> int:
    """Write the Parquet run of the training split, ordered and cut at ``depth``; returns the number of queries.

    A query without any passage keeps its line, with empty lists. Scores are stored as float32.
    """
    from simlm.runs.lists import write_lists

    ordered = ((query_id, *best_first(passages, np.asarray(scores, np.float32), depth)) for query_id, passages, scores in rankings)
    return write_lists(path, _train_schema(), ordered, lambda: {"system": system, "depth": depth, "corpus_sha256": corpus_sha256})


def read_train_run(path: str | Path) -> Iterator[Ranking]:
    """Stream a Parquet run, one row group in memory at a time.

    Raises
    ------
    UserError
        If the file is missing, truncated, or no run.
    """
    from simlm.runs.lists import iter_lists, open_lists

    with open_lists(path, _train_schema(), "a run of the training split", "the search of the split 'train'") as file:
        for (query_ids,), (passages, scores) in iter_lists(file, ["query_id"], ["passages", "scores"]):
            for query_id, rows, values in zip(query_ids, passages, scores):
                if len(rows) != len(values):
                    raise UserError(f"{path}: query '{query_id}' has {len(rows)} passages but {len(values)} scores; delete the file and search again")
                yield Ranking(query_id, rows, values)


def train_run_metadata(path: str | Path) -> dict[str, Any]:
    """System, depth and corpus digest of a Parquet run."""
    from simlm.runs.lists import metadata, open_lists

    with open_lists(path, _train_schema(), "a run of the training split", "the search of the split 'train'") as file:
        return metadata(file)


def write_trec_run(path: str | Path, rankings: Iterable[Ranking], store: CorpusStore, *, tag: str, depth: int | None = None) -> int:
    """Write a TREC run (query, ``Q0``, external id, rank, score, tag), ordered and cut at ``depth``; returns the number of queries."""
    queries = 0
    with atomic_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as stream:
        external = store.ids(np.arange(len(store))) if len(store) <= SMALL_CORPUS else None
        for group in _groups(rankings, 64):
            ordered = [(ranking.query_id, *best_first(ranking.passages, ranking.scores, depth)) for ranking in group]
            names = external if external is not None else _names(store, [passages for _, passages, _ in ordered])
            for query_id, passages, scores in ordered:
                if not query_id or query_id.split() != [query_id]:
                    raise UserError(f"{path}: the query id '{query_id}' has white space or is empty, which a TREC run cannot hold; rename it in the corpus")
                lines = zip(passages.tolist(), scores.tolist())
                stream.writelines(f"{query_id} Q0 {names[row]} {rank} {score!r} {tag}\n" for rank, (row, score) in enumerate(lines, 1))
            queries += len(group)
    return queries


def read_trec_run(path: str | Path) -> Iterator[TrecRanking]:
    """Stream a TREC run, plain or gzipped, query by query; lines keep the file's order. A last line without its end counts if it is whole.

    Raises
    ------
    UserError
        With file and line, if the file is missing, truncated or malformed, if a passage is listed twice for a query,
        or if the lines of a query are not together.
    """
    path, seen = Path(path), set()
    try:
        for first, ranking in _rankings(path):
            _refuse_doubtful(path, first, ranking)
            if ranking.query_id in seen:
                raise UserError(f"{path}:{first}: the lines of query '{ranking.query_id}' are not together; sort the file by query")
            seen.add(ranking.query_id)
            yield ranking
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; search the split first or give another file") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; give the file of a run") from None


def read_run(path: str | Path, store: CorpusStore, queries_at_once: int = 256) -> Iterator[Ranking]:
    """Stream a TREC run with rows instead of external ids, best first by ``(-score, row)``."""
    for group in _groups(read_trec_run(path), queries_at_once):
        names = list(dict.fromkeys(name for ranking in group for name in ranking.ids))
        row_of = dict(zip(names, store.rows(names)))
        for ranking in group:
            rows = np.array([row_of[name] for name in ranking.ids], dtype=np.int32)
            yield Ranking(ranking.query_id, *best_first(rows, ranking.scores))


def _train_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([("query_id", pa.string()), ("passages", pa.list_(pa.int32())), ("scores", pa.list_(pa.float32()))])


def _rankings(path: Path) -> Iterator[tuple[int, TrecRanking]]:
    """Number of the first line and ranking of each query, unchecked."""
    first, current = 1, None
    for number, block in numbered_blocks(path):
        queries, passage_ids, scores, bad = _columns(block)
        start = 0
        for query_id, lines in queries:
            end = start + lines
            part = TrecRanking(query_id, passage_ids[start:end], scores[start:end])
            if current and current.query_id == query_id:
                current = TrecRanking(query_id, current.ids + part.ids, np.concatenate([current.scores, part.scores]))
            else:
                if current:
                    yield first, current
                first, current = number + start, part
            start = end
        if bad is not None:
            if current:
                _refuse_doubtful(path, first, current)
            raise UserError(
                f"{path}:{number + bad} is not a line of a TREC run (query, Q0, passage, rank, score, tag); the file is truncated or foreign, make it again"
            )
    if current:
        yield first, current


Columns = tuple[list[tuple[str, int]], list[str], np.ndarray]
"""Of some lines: query ids with how many lines in a row have them, passage ids, scores (float64)."""


def _columns(block: str) -> tuple[*Columns, int | None]:
    """Columns of lines, up to the first line that is none of a run, and which this is (None: all are)."""
    if _single_spaced(block) and (found := _plain_columns(block)):
        return *found, None
    lines = block.split("\n")
    bad = next((place for place, line in enumerate(lines) if not _is_whole(line)), None)
    fields = "\n".join(lines[:bad]).split()
    queries = [(query_id, len(list(same))) for query_id, same in groupby(fields[0::6])]
    return queries, fields[2::6], np.array(list(map(float, fields[4::6])), np.float64), bad


def _single_spaced(block: str) -> bool:
    """Whether single spaces and ends of lines are the only white space; no field is empty then."""
    if not block.isascii():
        return False
    letters = np.frombuffer(f"{block}\n".encode("ascii"), np.uint8)
    white = letters <= 32  # a library which reads columns takes other white space otherwise than Python, which cuts lines at any
    alone = not (white[0] or (white[1:] & white[:-1]).any())
    return alone and np.count_nonzero(white) == block.count(" ") + block.count("\n") + 1


def _plain_columns(block: str) -> Columns | None:
    """Columns of lines of six fields between single spaces; None where a line has not six or a score is spelled unusually."""
    import pyarrow as pa
    from pyarrow import csv

    types = {"query": pa.dictionary(pa.int32(), pa.string()), "passage": pa.string(), "score": pa.float64()}
    try:
        table = csv.read_csv(
            pa.py_buffer(block.encode("ascii")),
            csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=["query", "Q0", "passage", "rank", "score", "tag"]),
            csv.ParseOptions(delimiter=" ", quote_char=False, double_quote=False, ignore_empty_lines=False),
            csv.ConvertOptions(column_types=types, include_columns=list(types), null_values=[], strings_can_be_null=False),
        )
    except pa.ArrowInvalid:
        return None
    queries, passages, scores = (column.combine_chunks() for column in table.columns)
    numbers, names = queries.indices.to_numpy(), queries.dictionary.to_pylist()
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    counts = np.diff(starts, append=len(numbers))
    return [(names[number], count) for number, count in zip(numbers[starts].tolist(), counts.tolist())], passages.to_pylist(), scores.to_numpy()


def _is_whole(line: str) -> bool:
    try:
        _, _, _, _, score, _ = line.split()
        float(score)
    except ValueError:
        return False
    return True


def _refuse_doubtful(path: Path, first: int, ranking: TrecRanking) -> None:
    """Refuse scores that are not numbers and passages listed twice; ``first`` is the number of the ranking's first line."""
    if len(set(ranking.ids)) == len(ranking.ids) and not np.isnan(ranking.scores).any():
        return
    seen: set[str] = set()
    for number, (passage_id, score) in enumerate(zip(ranking.ids, ranking.scores), first):
        if math.isnan(score):
            raise UserError(f"{path}:{number}: the score is not a number; make the run again")
        if passage_id in seen:
            raise UserError(f"{path}:{number}: passage '{passage_id}' is listed twice for query '{ranking.query_id}'; remove one")
        seen.add(passage_id)


def _names(store: CorpusStore, passages: list[np.ndarray]) -> dict[int, str]:
    rows = np.unique(np.concatenate(passages))
    return dict(zip(rows.tolist(), store.ids(rows)))


def _groups(items: Iterable, size: int) -> Iterator[list]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group
