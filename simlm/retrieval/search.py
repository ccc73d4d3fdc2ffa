"""Search of a model's index, exact and without ties left to chance: results are ordered by ``(-score, row)``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from simlm.progress import progress
from simlm.retrieval.queries import QUERIES_AT_ONCE, QueryVectors
from simlm.retrieval.runs import Ranking

if TYPE_CHECKING:
    import faiss

    from simlm.config import Experiment
    from simlm.retrieval.shards import Shards

SPARE = 16
"""Passages asked for beyond ``k``, to see whether passages at the cut have the same score."""

Search = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""Vectors (queries, dimension) and k → scores (float32) and rows (int64), both (queries, k); row -1 where there are fewer."""


def order_ties(search: Search, vectors: np.ndarray, k: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Best ``k`` passages by ``(-score, row)`` from a search that breaks ties as it likes.

    A few passages more than ``k`` are asked for. Where the last of them still has the score of the k-th, others with that
    score may have been left out, so the query is asked again for more.

    Parameters
    ----------
    search
        The search underneath.
    vectors
        Shape (queries, dimension), fp32.
    rows
        Number of passages that can be found.

    Returns
    -------
    tuple of arrays
        Rows (int64, -1 where there are fewer) and scores (float32, -inf there), shape (queries, min(k, rows)).
    """
    k = min(k, rows)
    wanted = min(k + SPARE, rows)
    best_rows, best_scores = _ordered(*search(vectors, wanted))
    while wanted < rows and k:
        open_ended = np.flatnonzero((best_scores[:, -1] == best_scores[:, k - 1]) & (best_rows[:, -1] >= 0))
        if not len(open_ended):
            break
        wanted = min(wanted * 4, rows)
        again_rows, again_scores = _ordered(*search(vectors[open_ended], wanted))
        # Only the first k count from here on, plus a last column that tells whether the query is settled.
        shown = [*range(k), wanted - 1]
        best_rows, best_scores = best_rows[:, [*range(k), -1]], best_scores[:, [*range(k), -1]]
        best_rows[open_ended], best_scores[open_ended] = again_rows[:, shown], again_scores[:, shown]
    return best_rows[:, :k], best_scores[:, :k]


def _ordered(scores: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores = np.where(rows < 0, -np.inf, scores).astype(np.float32)
    order = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def merge_topk(parts: list[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Merge the best passages of several shards by ``(-score, row)``.

    Parameters
    ----------
    parts
        Rows and scores of each shard, shape (queries, its k); row -1 where there are fewer.

    Returns
    -------
    tuple of arrays
        Rows and scores, shape (queries, k or all there are).

    >>> merge_topk([(np.array([[4, 1]]), np.array([[0.9, 0.2]])), (np.array([[7, 6]]), np.array([[0.9, 0.2]]))], 3)
    (array([[4, 7, 1]]), array([[0.9, 0.9, 0.2]], dtype=float32))
    """
    rows, scores = (np.concatenate([part[i] for part in parts], axis=1) for i in (0, 1))
    rows, scores = _ordered(scores, rows)
    return rows[:, :k], scores[:, :k]


class IndexSearch:
    """Search of a faiss index.

    Attributes
    ----------
    blocks_at_once
        Blocks of queries that are searched together.

    >>> import faiss
    >>> index = faiss.IndexFlatIP(2); index.add(np.array([[1, 0], [0, 1], [1, 0]], np.float32))
    >>> IndexSearch(index)(np.array([[1, 0]], np.float32), 2)[0]
    array([[0, 2]])
    """

    blocks_at_once = 1

    def __init__(self, index: faiss.Index) -> None:
        self.index = index

    def __call__(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores of the best ``k``, by ``(-score, row)``."""
        return order_ties(self.index.search, np.ascontiguousarray(vectors, np.float32), k, int(self.index.ntotal))


class ShardedSearch:
    """Exact search of the stored shards, block by block: memory holds a block of vectors, whatever the size of the corpus.

    Parameters
    ----------
    shards
        The vectors.
    block
        Vectors read at once.
    device
        torch's name of the device that multiplies, such as ``cuda``; None: faiss on the processor.
    """

    blocks_at_once = 32
    """All vectors are read once for so many blocks of queries."""

    def __init__(self, shards: Shards, block: int = 65536, device: str | None = None) -> None:
        self.shards, self.block, self.device = shards, block, device

    def __call__(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores of the best ``k``, by ``(-score, row)``."""
        vectors = np.ascontiguousarray(vectors, np.float32)
        best = (np.zeros((len(vectors), 0), np.int64), np.zeros((len(vectors), 0), np.float32))
        for first, block in self.shards.blocks(self.block):
            search = _on_device(block, self.device) if self.device else _on_processor(block)
            rows, scores = order_ties(search, vectors, k, len(block))
            best = merge_topk([best, (rows + first, scores)], k)
        return best


def _on_processor(block: np.ndarray) -> Search:
    import faiss

    return lambda queries, wanted: faiss.knn(queries, block, wanted, faiss.METRIC_INNER_PRODUCT)


def _on_device(block: np.ndarray, device: str) -> Search:
    """Inner products in fp32 (torch keeps TF32 off unless told otherwise), a slice of the queries at a time."""
    import torch

    passages = torch.from_numpy(block).to(device)

    def search(queries: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
        scores, rows = [], []
        for part in torch.from_numpy(queries).split(QUERIES_AT_ONCE):
            values, places = (part.to(device) @ passages.T).topk(wanted, dim=1)
            scores.append(values.cpu().numpy())
            rows.append(places.cpu().numpy())
        return np.concatenate(scores), np.concatenate(rows)

    return search


def search_split(
    queries: QueryVectors, search: IndexSearch | ShardedSearch, depth: int, what: str = "queries", queries_at_once: int = QUERIES_AT_ONCE
) -> Iterator[Ranking]:
    """Stream the rankings of queries, to ``depth``, in their order; ``what`` names them in the progress shown."""
    together = queries_at_once * search.blocks_at_once
    for start in progress(range(0, len(queries), together), -(-len(queries) // together), f"Searching {what}", unit="blocks of queries"):
        chunk = slice(start, start + together)
        for query_id, rows, scores in zip(queries.ids[chunk], *search(queries.vectors[chunk], depth)):
            found = rows >= 0
            yield Ranking(query_id, rows[found].astype(np.int32), scores[found])


def planned_runs(experiment: Experiment, name: str, splits: list[str] | None = None) -> list[tuple[str, bool]]:
    """Runs to make, as (split, whether it is the one that is mined).

    ``train`` is mined to ``negatives.depth``. Where it is also a judged split it gets a TREC run too: without ``splits`` both are
    made, ``["train"]`` alone means the one to mine, and among others it is a judged split like them.
    """
    from simlm.config.graph import needed_runs

    judged = list(experiment.evaluate.splits)
    if splits is None:
        mined, needed = needed_runs(experiment, name)
        return [*([("train", True)] if mined else []), *((split, False) for split in (needed or ([] if mined else judged)))]
    splits = list(dict.fromkeys(splits))
    return [(split, split == "train" and ("train" not in judged or splits == ["train"])) for split in splits]
