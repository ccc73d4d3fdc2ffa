"""Search of a model's index, as its settings and the machine ask for; results are ordered by ``(-score, row)``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simlm.config.embedding import Index as Settings
from simlm.indexes.base import Index
from simlm.indexes.faiss_index import IndexSearch
from simlm.indexes.from_shards import ShardedSearch
from simlm.indexes.late_interaction import LateInteraction
from simlm.indexes.residual import ResidualIndex
from simlm.progress import progress
from simlm.retrieval.queries import QUERIES_AT_ONCE, QueryVectors
from simlm.runs.runs import Ranking


def index_for(ragged: bool, settings: Settings, device: str | None = None, from_shards: bool = False) -> type[Index]:
    """The index of a model.

    Parameters
    ----------
    ragged
        Whether a text has any number of vectors.
    device
        Where there is one, an exact index is searched on it, from the shards.

    from_shards
        Whether what is stored is asked for, exactly, instead of an index.

    >>> index_for(False, Settings()).__name__, index_for(False, Settings(), "cuda").__name__
    ('IndexSearch', 'ShardedSearch')
    >>> index_for(True, Settings()).__name__, index_for(True, Settings(residual={})).__name__
    ('LateInteraction', 'ResidualIndex')
    """
    if ragged:
        return LateInteraction if from_shards or settings.residual is None else ResidualIndex
    return ShardedSearch if from_shards or (device and settings.factory == "Flat") else IndexSearch


def search_split(queries: QueryVectors, search: Index, depth: int, what: str = "queries", queries_at_once: int = QUERIES_AT_ONCE) -> Iterator[Ranking]:
    """Stream the rankings of queries, to ``depth``, in their order; ``what`` names them in the progress shown."""
    together = queries_at_once * search.blocks_at_once
    for start in progress(range(0, len(queries), together), -(-len(queries) // together), f"Searching {what}", unit="blocks of queries"):
        chunk = slice(start, start + together)
        for query_id, rows, scores in zip(queries.ids[chunk], *search(queries.vectors[chunk], depth)):
            found = rows >= 0
            yield Ranking(query_id, rows[found].astype(np.int32), scores[found])
