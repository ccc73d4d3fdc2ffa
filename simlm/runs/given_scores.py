"""Reads a file of a teacher's scores (:mod:`simlm.config.score_files` has the forms) for the lists of a training."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from simlm.config.score_files import PASSAGE, QUERY, SCORE, find, form_of_scores
from simlm.corpus.records import clean_id
from simlm.corpus.tables import csv_rows, json_objects, open_table
from simlm.errors import UserError
from simlm.lines import numbered_lines
from simlm.runs.runs import read_trec_run

if TYPE_CHECKING:
    from simlm.corpus.store import CorpusStore

PAIRS_AT_ONCE = 250_000
"""Pairs of a file that are looked up together: one pass over the corpus's ids each."""


class Scored(NamedTuple):
    """One score with its external ids; None for a passage that the file lists without one."""

    query: str
    passage: str
    score: float | None


@dataclass
class GivenCounts:
    """What of a file could be used.

    Attributes
    ----------
    scores
        Scores that the file holds.
    used
        Those of passages that are listed for a training query.
    unlisted
        Those of other passages of the corpus, or of training queries without a list.
    unknown_queries, unknown_passages
        Those of queries that the split ``train`` lacks, and of passages that the corpus lacks.
    repeated
        Those of a pair that has one already; the highest counts.
    without_score
        Passages that the file lists without a score.
    an_unknown_query, an_unknown_passage
        The first id of either.
    """

    scores: int = 0
    used: int = 0
    unlisted: int = 0
    unknown_queries: int = 0
    unknown_passages: int = 0
    repeated: int = 0
    without_score: int = 0
    an_unknown_query: str | None = None
    an_unknown_passage: str | None = None

    def __str__(self) -> str:
        parts = [f"{self.used:,} of its {self.scores:,} scores are of listed passages"]
        if self.unknown_queries:
            parts.append(f"{self.unknown_queries:,} of queries that the split train lacks, such as '{self.an_unknown_query}'")
        if self.unknown_passages:
            parts.append(f"{self.unknown_passages:,} of passages that the corpus lacks, such as '{self.an_unknown_passage}'")
        parts += [f"{self.unlisted:,} of others"] if self.unlisted else []
        parts += [f"{self.repeated:,} are of a pair that is there twice, of which the highest counts"] if self.repeated else []
        parts += [f"{self.without_score:,} passages have none"] if self.without_score else []
        return ", ".join(parts)


def scored_pairs(path: str | Path) -> Iterator[Scored]:
    """All scores of a file, in its order.

    Raises
    ------
    UserError
        With the place, at the first line of another form and at a score that is no finite number.
    """
    file = Path(path).expanduser()
    form = form_of_scores(path)
    if form == "trec":
        for ranking in read_trec_run(file):
            for passage, score in zip(ranking.ids, ranking.scores.tolist()):
                yield Scored(ranking.query_id, passage, _finite(score, f"{path}, query '{ranking.query_id}'"))
    else:
        yield from _READERS[form](file)


def scores_of_lists(path: str | Path, store: CorpusStore, query_ids: Sequence[str], rows: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, GivenCounts]:
    """The scores of listed passages, float32, shape of ``rows``; NaN where the file has none.

    Parameters
    ----------
    query_ids
        Training queries by number.
    rows, offsets
        Corpus rows listed for each, sorted within a query, and where each query's begin.

    Raises
    ------
    UserError
        If the file is malformed, or if it has no score of a listed passage.
    """
    number = {query_id: i for i, query_id in enumerate(query_ids)}
    known, counts = store.queries("train"), GivenCounts()
    values = np.full(len(rows), np.nan, np.float32)
    pairs = scored_pairs(path)
    while batch := list(islice(pairs, PAIRS_AT_ONCE)):
        _note(batch, store, number, known, rows, offsets, values, counts)
    counts.used = int(np.isfinite(values).sum())
    if not counts.used:
        raise UserError(f"{path} scores none of the listed passages ({counts}); are its ids those of the corpus?")
    return values, counts


def _note(
    batch: list[Scored],
    store: CorpusStore,
    number: dict[str, int],
    known: dict[str, str],
    rows: np.ndarray,
    offsets: np.ndarray,
    values: np.ndarray,
    counts: GivenCounts,
) -> None:
    """Put some scores of a file in their places of ``values``."""
    counts.without_score += sum(pair.score is None for pair in batch)
    batch = [pair for pair in batch if pair.score is not None]
    counts.scores += len(batch)
    strangers = [pair.query for pair in batch if pair.query not in known]
    counts.unknown_queries += len(strangers)
    counts.an_unknown_query = counts.an_unknown_query or next(iter(strangers), None)
    batch = [pair for pair in batch if pair.query in known]
    row_of = store.known_rows(list(dict.fromkeys(pair.passage for pair in batch)))
    strangers = [pair.passage for pair in batch if pair.passage not in row_of]
    counts.unknown_passages += len(strangers)
    counts.an_unknown_passage = counts.an_unknown_passage or next(iter(strangers), None)
    found = [(number[pair.query], row_of[pair.passage], pair.score) for pair in batch if pair.passage in row_of and pair.query in number]
    counts.unlisted += len(batch) - len(strangers) - len(found)
    if not found:
        return
    queries, passages, scores = (np.array(column) for column in zip(*found))
    order = np.argsort(queries, kind="stable")
    queries, passages, scores = queries[order], passages[order], scores[order].astype(np.float32)
    starts = np.flatnonzero(np.diff(queries, prepend=-1))
    for begin, end in zip(starts.tolist(), [*starts[1:].tolist(), len(queries)]):
        query = int(queries[begin])
        own = rows[offsets[query] : offsets[query + 1]]
        places = np.searchsorted(own, passages[begin:end])
        listed = places < len(own)
        listed[listed] = own[places[listed]] == passages[begin:end][listed]
        counts.unlisted += int((~listed).sum())
        places = places[listed]
        mine = values[offsets[query] : offsets[query + 1]]
        before = int(np.isnan(mine).sum())
        np.fmax.at(mine, places, scores[begin:end][listed])
        counts.repeated += len(places) - (before - int(np.isnan(mine).sum()))


def _finite(value: Any, place: str) -> float:
    try:
        score = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise UserError(f"{place}: the score {str(value)[:40]!r} is no finite number; correct it or leave the line out")
    return score


def _scored(query: Any, passage: Any, score: Any, place: str) -> Scored:
    query, passage = (
        value if isinstance(value, str) and value.isalnum() else clean_id(value, lambda _: place, 0, what)
        for value, what in ((query, "query"), (passage, "passage"))
    )
    return Scored(query, passage, None if score is None else _finite(score, place))


def _columns(file: Path) -> Iterator[Scored]:
    wanted = (QUERY, PASSAGE, SCORE)
    if file.suffix == ".parquet":
        table = open_table([file])
        for place, values in table.read([table.column(names) for names in wanted]):
            yield _scored(*values, place)
        return
    begin = next(text for _, text in numbered_lines(file) if text.strip())
    if begin.lstrip()[:1] == "{":
        for n, value in json_objects(file):
            yield _scored(*(value.get(find(value, names) or "") for names in wanted), f"{file}:{n}")
        return
    rows = ((n, line.split("\t")) for n, line in numbered_lines(file) if line.strip()) if "\t" in begin else csv_rows(file)
    _, header = next(rows)
    places = [header.index(find(header, names) or "") for names in wanted]
    for n, fields in rows:
        if len(fields) != len(header):
            raise UserError(f"{file}:{n} has {len(fields)} columns, but the header has {len(header)} ({', '.join(header)}); correct the line")
        yield _scored(*(fields[place] for place in places), f"{file}:{n}")


def _bare(file: Path) -> Iterator[Scored]:
    for n, line in numbered_lines(file):
        if not line.strip():
            continue
        fields = line.split()
        if len(fields) != 3:
            raise UserError(f"{file}:{n} must hold query id, passage id and score, not {line[:80]!r}")
        yield _scored(*fields, f"{file}:{n}")


def _tevatron(file: Path) -> Iterator[Scored]:
    for n, value in json_objects(file, ("query_id", "positive_passages", "negative_passages")):
        query = value.get(find(value, QUERY[:3]) or "")
        for group in ("positive_passages", "negative_passages"):
            yield from _passages(query, value.get(group), f"{file}:{n}")


def _hard_negatives(file: Path) -> Iterator[Scored]:
    for n, value in json_objects(file, ("qid", "pos", "neg")):
        query, negatives = value.get(find(value, QUERY[:3]) or ""), value.get("neg")
        seen: set[Any] = set()
        for group in (value.get("pos"), *(negatives.values() if isinstance(negatives, dict) else [negatives])):
            for pair in _passages(query, group, f"{file}:{n}"):
                # What several systems found is listed under each.
                if pair.passage not in seen:
                    seen.add(pair.passage)
                    yield pair


def _passages(query: Any, group: Any, place: str) -> Iterator[Scored]:
    if not isinstance(group, list) or not all(isinstance(passage, dict) for passage in group):
        raise UserError(f"{place} does not list passages as objects with an id and a score")
    for passage in group:
        yield _scored(query, passage.get(find(passage, PASSAGE) or ""), passage.get(find(passage, SCORE) or ""), place)


def _nested(file: Path) -> Iterator[Scored]:
    lines = ((n, text) for n, text in numbered_lines(file) if text.strip())
    n, first = next(lines)
    try:
        whole = json.loads(first)
    except (ValueError, RecursionError):
        yield from _of_object(_whole(file), str(file))
        return
    yield from _of_object(whole, f"{file}:{n}")
    for n, text in lines:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            raise UserError(f"{file}:{n} is not JSON; each line must hold one object of query → passage → score") from None
        yield from _of_object(value, f"{file}:{n}")


def _whole(file: Path) -> Any:
    """An object that is written over several lines."""
    with open(file, "rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(file, "rt", encoding="utf-8") if packed else open(file, encoding="utf-8") as stream:
            return json.load(stream)
    except (ValueError, RecursionError, EOFError, OSError) as error:
        raise UserError(f"{file} is not JSON ({str(error)[:100]}); it must hold one object of query → passage → score") from None


def _of_object(value: Any, place: str) -> Iterator[Scored]:
    if not isinstance(value, dict) or not all(isinstance(inner, dict) for inner in value.values()):
        raise UserError(f"{place} is not an object of query → passage → score")
    for query, inner in value.items():
        for passage, score in inner.items():
            yield _scored(query, passage, score, f"{place}, query '{query[:40]}'")


_READERS = {"columns": _columns, "bare": _bare, "tevatron": _tevatron, "hard_negatives": _hard_negatives, "nested": _nested}
