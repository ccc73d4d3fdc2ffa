"""A bi-encoder of the graph set up to embed, and the vectors of queries; torch is imported only where something is embedded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simlm.context import Context
from simlm.corpus.store import CorpusStore
from simlm.retrieval.queries import QueryVectors, query_vectors

if TYPE_CHECKING:
    from simlm.retrieval.encoder import TextEncoder


def vectors_of_queries(context: Context, name: str, store: CorpusStore, split: str, encoder: TextEncoder | None = None) -> QueryVectors:
    """The vectors of a split's queries, as the embedding left them; otherwise they are made now, with ``encoder`` or the model's own."""
    experiment, paths = context.experiment, context.paths
    settings = {"batch_size": experiment.encoding_of(name).batch_size, "precision": experiment.precision}
    return query_vectors(paths.embeddings(name), store, split, paths.model(name), settings, lambda: encoder or prepared_encoder(context, name))


def prepared_encoder(context: Context, name: str) -> TextEncoder:
    """The bi-encoder, with torch set up for it."""
    from simlm import hardware
    from simlm.retrieval.encoder import TextEncoder

    hardware.prepare(context.experiment.encoding_of(name).threads)
    return TextEncoder(context.paths.model(name), hardware.choose_precision(context.experiment.precision), context.experiment.encoding_of(name).batch_size)
