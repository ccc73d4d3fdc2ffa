"""A late-interaction model that scores queries with passages given as text: it re-ranks and teaches as a cross-encoder does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from simlm.errors import UserError
from simlm.models.batches import MULTIPLE
from simlm.models.embedding import embed_token_vectors
from simlm.models.halving import Halving
from simlm.models.late_interaction import NOT_PACKED
from simlm.models.manifest import verified_manifest
from simlm.models.text import Tokens
from simlm.models.token_retriever import ENTRY, TokenRetriever, open_token_retriever

if TYPE_CHECKING:
    from simlm.hardware import Precision

PASSAGES, BATCH = 2048, 128
"""Passages whose vectors are in memory at once, and texts per forward pass."""


class TokenScorer:
    """MaxSim of pairs; see :class:`~simlm.models.crossencoder.PairScorer`, whose place it takes.

    Parameters
    ----------
    opened
        The model.
    precision
        Arithmetic of the forward passes; vectors and scores are fp32.
    """

    lexical_hints = False

    def __init__(self, opened: TokenRetriever, precision: Precision) -> None:
        self.reader, self.precision = opened.reader, precision
        self.pieces = Halving(BATCH, "texts", "passage_length of the model")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = opened.model().eval().to(self.device)

    @classmethod
    def open(cls, folder: str | Path, precision: Precision) -> TokenScorer:
        """Load a late-interaction model of the graph.

        Raises
        ------
        UserError
            If the folder holds none.
        """
        manifest = verified_manifest(folder)
        if ENTRY not in manifest:
            raise UserError(f"{folder} is a {manifest['kind']}, which has no vectors of tokens; name a late-interaction model")
        return cls(open_token_retriever(folder), precision)

    def pack(self) -> str:
        """Why it goes on reading padding; see :meth:`simlm.models.crossencoder.PairScorer.pack`."""
        return NOT_PACKED

    def queries(self, texts: Sequence[str]) -> Tokens:
        """Tokens of queries."""
        return self.reader.queries(texts)

    def passages(self, titles: Sequence[str], texts: Sequence[str]) -> Tokens:
        """Tokens of passages."""
        return self.reader.passages(titles, texts)

    def score_pairs(self, queries: Tokens, which: np.ndarray, passages: Tokens, hints: np.ndarray | None = None) -> np.ndarray:
        """Scores of query ``which[i]`` with passage ``i``, float32; a passage without a vector has the lowest score that there can be."""
        scores, asked = np.empty(len(passages), np.float32), np.unique(which)
        own = dict(zip(asked.tolist(), self._vectors(self.model.queries, queries.take(asked))))
        for start in range(0, len(passages), PASSAGES):
            part = range(start, min(start + PASSAGES, len(passages)))
            for i, vectors in zip(part, self._vectors(self.model.passages, passages.take(part))):
                query = own[int(which[i])]
                # Cosines are never below -1.
                scores[i] = (query @ vectors.T).max(1).sum() if len(vectors) else -len(query)
        return scores

    def score(self, query: str, titles: list[str], texts: list[str], hints: np.ndarray | None = None) -> np.ndarray:
        """Scores of one query with passages given as text, float32, shape (passages,)."""
        return self.score_pairs(self.queries([query]), np.zeros(len(texts), np.int64), self.passages(titles, texts))

    def _vectors(self, forward, tokens: Tokens) -> list[np.ndarray]:
        multiple = MULTIPLE if self.precision.bf16 else 1
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision.bf16):
            return self.pieces.of(
                lambda most: embed_token_vectors(forward, tokens, self.reader.tokenizer, device=self.device, batch_size=most, multiple=multiple)
            )
