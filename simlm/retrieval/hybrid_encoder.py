"""A hybrid retriever that embeds: text in, vectors of two parts out."""

from __future__ import annotations

from pathlib import Path

from simlm.config.kinds.hybrid import Hybrid
from simlm.models.hybrid import HybridRetriever, open_hybrid
from simlm.retrieval.encoder import TextEncoder


class HybridEncoder(TextEncoder):
    """The model of a folder, ready for inference; what is said of :class:`~simlm.retrieval.encoder.TextEncoder` holds here too.

    Raises
    ------
    UserError
        If the folder holds no complete hybrid retriever.
    """

    format = Hybrid.format

    @staticmethod
    def opened(folder: str | Path) -> HybridRetriever:
        return open_hybrid(folder)
