"""Search of a model's index, exact and without ties left to chance: results are ordered by ``(-score, row)``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from simlm.progress import progress
from simlm.retrieval.keys import NOTHING, keys_of, keys_of_tensors, results_of, same_score
from simlm.retrieval.queries import QUERIES_AT_ONCE, QueryVectors
from simlm.runs.runs import Ranking

if TYPE_CHECKING:
    import faiss
    import torch

    from simlm.retrieval.shards import Shards

SPARE = 16
"""Passages asked for beyond ``k``, to see whether passages at the cut have the same score."""

Search = Callable[[Any, int], Any]
"""Vectors (queries, dimension) and k → the best k results of each as sorted keys (`simlm.retrieval.keys`), shape (queries, k)."""


def best_keys(search: Search, vectors: Any, k: int, rows: int) -> Any:
    """Best ``k`` passages by ``(-score, row)`` from a search that breaks ties at its cut as it likes.

    A few passages more than ``k`` are asked for. Where the last of them still has the score of the k-th, others with that
    score may have been left out, so the query is asked again for more.

    Parameters
    ----------
    search
        The search underneath.
    vectors
        Shape (queries, dimension), fp32; numpy's, or a tensor if that is what the search takes and gives.
    rows
        Number of passages that can be found.

    Returns
    -------
    array or tensor
        Sorted keys, shape (queries, min(k, rows)).
    """
    k = min(k, rows)
    wanted = min(k + SPARE, rows)
    best = search(vectors, wanted)
    while wanted < rows and k:
        open_ended = same_score(best[:, -1], best[:, k - 1]) & (best[:, -1] != NOTHING)
        if not open_ended.any():
            break
        wanted = min(wanted * 4, rows)
        again = search(vectors[open_ended], wanted)
        # Only the first k count from here on, plus a last column that tells whether the query is settled.
        best = best[:, [*range(k), -1]]
        best[open_ended] = again[:, [*range(k), -1]]
    return best[:, :k]


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
        """Rows and scores of the best ``k``, by ``(-score, row)``; shape (queries, k or all there are), row -1 and score -inf where there are fewer."""

        def search(queries: np.ndarray, wanted: int) -> np.ndarray:
            return np.sort(keys_of(*self.index.search(queries, wanted)), axis=1)

        return results_of(best_keys(search, np.ascontiguousarray(vectors, np.float32), k, int(self.index.ntotal)))


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
        """Rows and scores of the best ``k``, by ``(-score, row)``; shape (queries, k or all there are)."""
        blocks, queries = self.shards.blocks(self.block), np.ascontiguousarray(vectors, np.float32)
        return results_of(_search_on_device(blocks, queries, k, self.device) if self.device else _search_on_processor(blocks, queries, k))


Blocks = Iterable[tuple[int, np.ndarray]]
"""First row and fp32 vectors of consecutive blocks."""


def _search_on_processor(blocks: Blocks, queries: np.ndarray, k: int) -> np.ndarray:
    best = np.zeros((len(queries), 0), np.int64)
    for first, block in blocks:
        found = best_keys(_nearest(block, first), queries, k, len(block))
        best = np.sort(np.concatenate([best, found], axis=1), axis=1)[:, :k]
    return best


def _nearest(block: np.ndarray, first: int) -> Search:
    import faiss

    def search(queries: np.ndarray, wanted: int) -> np.ndarray:
        scores, rows = faiss.knn(queries, block, wanted, faiss.METRIC_INNER_PRODUCT)
        return np.sort(keys_of(scores, np.where(rows < 0, -1, rows + first)), axis=1)

    return search


def _search_on_device(blocks: Blocks, queries: np.ndarray, k: int, device: str) -> np.ndarray:
    """Inner products in fp32 (torch keeps TF32 off unless told otherwise); results stay on the device until the end."""
    import torch

    asked = torch.from_numpy(queries).to(device)
    best = torch.zeros((len(queries), 0), dtype=torch.int64, device=device)
    for first, block in blocks:
        found = best_keys(_nearest_on_device(torch.from_numpy(block).to(device), first), asked, k, len(block))
        best = torch.cat([best, found], dim=1).sort(dim=1).values[:, :k]
    return best.cpu().numpy()


def _nearest_on_device(passages: torch.Tensor, first: int) -> Search:
    import torch

    def search(queries: torch.Tensor, wanted: int) -> torch.Tensor:
        """A slice of the queries at a time."""
        found = []
        for part in queries.split(QUERIES_AT_ONCE):
            scores, rows = (part @ passages.T).topk(wanted, dim=1)
            found.append(keys_of_tensors(scores, rows + first).sort(dim=1).values)
        return torch.cat(found)

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
