"""Hard negatives: the top passages of a run, minus all positives of the query, filled up with random passages.

What a query gets is a pure function of the seed, its id and its own ranking; it does not depend on the other queries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from simlm.errors import UserError
from simlm.runs.lists import iter_lists, metadata, open_lists, write_lists
from simlm.runs.runs import Ranking

if TYPE_CHECKING:
    import pyarrow as pa

    from simlm.config.experiment import Negatives


FEW = 0.1
"""Share of the training queries with something missing from which a caution is due."""


Answered = Callable[[str, np.ndarray], np.ndarray]
"""Query id and rows → which of the rows contain an answer to it (:meth:`simlm.runs.answers.AnswerMatcher.contains`)."""

CLOSE = 0.95
"""Share of a positive's score from which a candidate is probably a right answer that nobody judged (NV-Retriever, Moreira et al., 2024)."""


class MinedQuery(NamedTuple):
    """A training query with its positives (sorted rows) and negatives (mined ones in random order, then or among them random ones)."""

    query_id: str
    positives: np.ndarray
    negatives: np.ndarray


@dataclass
class MiningCounts:
    """What was mined and what was dropped.

    Attributes
    ----------
    queries
        Queries written.
    no_positive
        Queries of the run that have no relevant passage; dropped.
    no_run_entry
        Queries with a relevant passage for which the run found nothing; dropped.
    mined, random
        Negatives taken from the run, and at random.
    fewer, fewest
        Queries with fewer negatives than ``sample`` or ``pad_to`` asks for, and the smallest number that a query has.
    with_answer
        Passages of the run that are no labelled positives but contain an answer: made positives, or left out.
    positives, positives_found
        Labelled positives of all training queries, and how many of them are within the depth of the run.
    compared, close
        Candidates of queries that have a positive among the scores, and how many of them score at least :data:`CLOSE` of the best one: the
        estimated false negatives.
    dropped_close
        Candidates left out by ``drop_above``.
    """

    queries: int = 0
    no_positive: int = 0
    no_run_entry: int = 0
    mined: int = 0
    random: int = 0
    fewer: int = 0
    fewest: int | None = None
    with_answer: int = 0
    positives: int = 0
    positives_found: int = 0
    compared: int = 0
    close: int = 0
    dropped_close: int = 0

    @property
    def false_negatives(self) -> float | None:
        """Estimated share of the candidates that are right answers nobody judged; None where no positive was found."""
        return self.close / self.compared if self.compared else None

    def cautions(self, source: str, settings: Negatives) -> Iterator[str]:
        """What may spoil the training, in sentences."""
        judged = self.queries + self.no_run_entry
        if self.no_run_entry > FEW * judged:
            yield f"{source} finds nothing for {self.no_run_entry:,} of {judged:,} training queries, so that only {self.queries:,} are trained on"
        if self.fewer > FEW * self.queries:
            yield f"{self.fewer:,} of {self.queries:,} queries have fewer than {max(settings.sample, settings.pad_to)} negatives, {self.fewest} at least"


def query_generator(seed: int, query_id: str) -> np.random.Generator:
    """The random numbers of one query."""
    digest = hashlib.blake2b(f"{seed}\t{query_id}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def close_to_positive(judge: Ranking, positives: np.ndarray, share: float) -> np.ndarray | None:
    """Rows that score at least ``share`` of what the best-scored positive does; None where no positive is among the scores.

    Of a negative score a share is lower, not higher: what is asked for is ``score >= best - (1 - share) * abs(best)``.

    >>> judge = Ranking("q", np.array([5, 3, 8, 2]), np.array([1.0, 0.96, 0.95, 0.9]))
    >>> close_to_positive(judge, np.array([5]), 0.95), close_to_positive(judge, np.array([7]), 0.95)
    (array([3, 8]), None)
    >>> close_to_positive(Ranking("q", np.array([3, 5, 8, 2]), np.array([-0.5, -1.0, -1.04, -1.06])), np.array([5]), 0.95)
    array([3, 8])
    """
    right = np.isin(judge.passages, positives)
    if not right.any():
        return None
    best = float(np.max(judge.scores[right]))
    # A rounding error is no reason to keep what is exactly there.
    return judge.passages[~right & (judge.scores >= best - (1 - share) * abs(best) - 1e-9 * abs(best))]


def sample_negatives(
    ranking: Ranking, positives: np.ndarray, corpus_size: int, settings: Negatives, seed: int, own: int | None = None, close: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the negatives of one query.

    Parameters
    ----------
    ranking
        The query's part of the run, best first.
    positives
        Rows of *all* its relevant passages; none of them is ever returned.
    corpus_size
        Number of passages to draw random ones from.
    own
        Row of the passage that is the query itself, which is never returned either.
    close
        Further rows that are never returned, for they are probably right answers (:func:`close_to_positive`).

    Returns
    -------
    tuple of arrays
        Mined rows: ``settings.sample`` of the top ``settings.depth``, in random order. Random rows that are neither
        positive nor anywhere in the run: as many as are missing to ``settings.pad_to`` (fewer if the corpus has no more).
    """
    random = query_generator(seed, ranking.query_id)
    top = ranking.passages[: settings.depth]
    excluded = positives if own is None else np.union1d(positives, [own])
    if close is not None:
        excluded = np.union1d(excluded, close)
    candidates = top[~np.isin(top, excluded)]
    mined = random.permutation(candidates)[: settings.sample].astype(np.int32)
    missing = max(0, settings.pad_to - len(mined))
    return mined, _draw_outside(random, corpus_size, np.union1d(excluded, ranking.passages), missing)


def _draw_outside(random: np.random.Generator, corpus_size: int, excluded: np.ndarray, count: int) -> np.ndarray:
    """``count`` distinct rows outside the sorted ``excluded``, uniformly."""
    if corpus_size < 4 * (len(excluded) + count):
        free = np.ones(corpus_size, dtype=bool)
        free[excluded] = False
        return random.permutation(np.flatnonzero(free))[:count].astype(np.int32)
    drawn = np.empty(0, np.int64)
    while len(drawn) < count:
        # At most a quarter of the rows is excluded or drawn, so that nearly every draw of this size is enough.
        more = np.concatenate([drawn, random.integers(0, corpus_size, size=2 * count)])
        _, first = np.unique(more, return_index=True)
        drawn = more[np.sort(first)]
        drawn = drawn[~np.isin(drawn, excluded)]
    return drawn[:count].astype(np.int32)


def mine_negatives(
    run: Iterable[Ranking],
    positives: dict[str, list[int]],
    corpus_size: int,
    settings: Negatives,
    seed: int,
    counts: MiningCounts,
    own: Mapping[str, int] | None = None,
    answered: Answered | None = None,
    judges: Mapping[str, Ranking] | None = None,
) -> Iterator[MinedQuery]:
    """Stream the queries of a run that can be trained on, in the run's order, filling ``counts``.

    ``own`` maps queries to the row of the passage that is the query itself, which is no negative of it. ``answered`` tells which passages
    contain an answer: none of them becomes a negative, and with ``settings.answers: positives`` those within the depth become positives.
    ``judges`` has the scores that tell which candidates are close to a positive, by default those of the run itself.

    Raises
    ------
    UserError
        If the run names a row that the corpus does not have.
    """
    found = set()
    for ranking in run:
        labelled = np.array(positives.get(ranking.query_id, ()), dtype=np.int32)
        excluded = labelled if answered is None else _and_answered(ranking, labelled, settings, answered, (own or {}).get(ranking.query_id))
        relevant = excluded if settings.answers == "positives" else labelled
        if not len(relevant):
            counts.no_positive += 1
            continue
        if not len(ranking.passages):
            continue
        if ranking.passages.max() >= corpus_size or ranking.passages.min() < 0:
            raise UserError(
                f"the run's query '{ranking.query_id}' names row {int(ranking.passages.max())}, but the corpus has {corpus_size:,} passages; search again"
            )
        found.add(ranking.query_id)
        mine = (own or {}).get(ranking.query_id)
        close = _close(ranking, judges.get(ranking.query_id) if judges is not None else ranking, excluded, mine, settings, counts)
        mined, others = sample_negatives(ranking, excluded, corpus_size, settings, seed, mine, close)
        if answered is not None:
            others = others[~answered(ranking.query_id, others)]
        counts.queries += 1
        counts.mined += len(mined)
        counts.random += len(others)
        counts.fewer += len(mined) + len(others) < max(settings.sample, settings.pad_to)
        counts.fewest = len(mined) + len(others) if counts.fewest is None else min(counts.fewest, len(mined) + len(others))
        counts.positives_found += int(np.isin(labelled, ranking.passages[: settings.depth]).sum())
        counts.with_answer += len(excluded) - len(labelled)
        negatives = np.concatenate([mined, others])
        if settings.padding == "mixed":
            negatives = query_generator(seed + 1, ranking.query_id).permutation(negatives)
        yield MinedQuery(ranking.query_id, relevant, negatives)
    counts.no_run_entry = sum(query not in found for query in positives)
    counts.positives = sum(map(len, positives.values()))


def _and_answered(ranking: Ranking, positives: np.ndarray, settings: Negatives, answered: Answered, own: int | None) -> np.ndarray:
    """A query's positives and those of its top passages that contain an answer, sorted."""
    top = ranking.passages[: settings.depth]
    others = top[~np.isin(top, positives if own is None else np.union1d(positives, [own]))]
    return np.union1d(positives, others[answered(ranking.query_id, others)]).astype(np.int32)


def _close(ranking: Ranking, judge: Ranking | None, positives: np.ndarray, own: int | None, settings: Negatives, counts: MiningCounts) -> np.ndarray | None:
    """Rows that are too close to a positive to be negatives; counts them and the estimate."""
    near = None if judge is None else close_to_positive(judge, positives, CLOSE)
    if near is None:
        return None
    candidates = np.setdiff1d(ranking.passages[: settings.depth], positives if own is None else [*positives, own])
    counts.compared += len(candidates)
    counts.close += int(np.isin(candidates, near).sum())
    if settings.drop_above is None:
        return None
    dropped = close_to_positive(judge, positives, settings.drop_above)
    counts.dropped_close += int(np.isin(candidates, dropped).sum())
    return dropped


def write_negatives(path: str | Path, queries: Iterable[MinedQuery], facts: dict[str, Any], counts: MiningCounts) -> None:
    """Write the Parquet list; its schema metadata ``simlm`` holds ``facts`` and, as ``counts``, what was mined and dropped.

    Raises
    ------
    UserError
        If nothing is left to train on.
    """

    def about() -> dict[str, Any]:
        if not counts.queries:
            dropped = f"{counts.no_positive:,} without a relevant passage, {counts.no_run_entry:,} for which the run has nothing"
            raise UserError(f"{path}: no training query is left ({dropped}); is the run from another corpus?")
        return {**facts, "counts": asdict(counts)}  # complete only when all queries are written

    write_lists(path, _schema(), queries, about)


def read_negatives(path: str | Path) -> Iterator[MinedQuery]:
    """Stream a file of negatives, one row group in memory at a time."""
    with open_lists(path, _schema(), "a file of negatives", "simlm mine-negatives") as file:
        for (query_ids,), (positives, negatives) in iter_lists(file, ["query_id"], ["positives", "negatives"]):
            yield from map(MinedQuery, query_ids, positives, negatives)


def negatives_metadata(path: str | Path) -> dict[str, Any]:
    """Source, settings, seed, counts and corpus digest of a file of negatives."""
    with open_lists(path, _schema(), "a file of negatives", "simlm mine-negatives") as file:
        return metadata(file)


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([("query_id", pa.string()), ("positives", pa.list_(pa.int32())), ("negatives", pa.list_(pa.int32()))])
