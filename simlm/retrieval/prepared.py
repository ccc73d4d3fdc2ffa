"""A retriever of the graph set up to embed, and the vectors of queries; torch is imported only where something is embedded."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from simlm.config.code import fingerprint
from simlm.context import Context
from simlm.corpus.store import CorpusStore
from simlm.progress import say
from simlm.retrieval.queries import QueryVectors, query_vectors

if TYPE_CHECKING:
    from simlm.hardware import Precision
    from simlm.models.crossencoder import PairScorer
    from simlm.retrieval.encoder import TextEncoder


def vectors_of_queries(context: Context, name: str, store: CorpusStore, split: str, encoder: TextEncoder | None = None) -> QueryVectors:
    """The vectors of a split's queries, as the embedding left them; otherwise they are made now, with ``encoder`` or the model's own."""
    experiment, paths = context.experiment, context.paths
    embedder = experiment.system(name).embedder.partition(":")[0]
    packing = {"packing": True} if experiment.packing else {}
    settings = {"batch_size": experiment.encoding_of(name).batch_size, "precision": experiment.precision, **packing, "code": fingerprint(embedder)}
    return query_vectors(paths.embeddings(name), store, split, paths.model(name), settings, lambda: encoder or prepared_encoder(context, name))


def prepared_encoder(context: Context, name: str) -> TextEncoder:
    """The encoder, with torch set up for it."""
    from simlm import hardware

    hardware.prepare(context.experiment.encoding_of(name).threads)
    return open_encoder(context, name, hardware.choose_precision(context.experiment.precision))


def open_encoder(context: Context, name: str, precision: Precision, batch_size: int | None = None) -> TextEncoder:
    """The encoder, as its kind says how it is opened; ``batch_size``: in place of the configuration's."""
    module, _, opener = context.experiment.system(name).embedder.partition(":")
    encoder = getattr(import_module(module), opener)(context.paths.model(name), precision, batch_size or context.experiment.encoding_of(name).batch_size)
    return _packed(context, name, encoder)


def open_scorer(context: Context, name: str, precision: Precision) -> PairScorer:
    """What scores queries with passages, as the kind of the model ``name`` says how it is opened."""
    module, _, opener = context.experiment.system(name).scorer.partition(":")
    return _packed(context, name, getattr(import_module(module), opener).open(context.paths.model(name), precision))


def _packed(context: Context, name: str, opened: Any) -> Any:
    """The same, reading rows of packed tokens where the experiment asks for them and the model can."""
    reason = opened.pack() if context.experiment.packing else None
    if reason:
        say(f"{name} reads padded batches although packing is true: {reason}")
    return opened
