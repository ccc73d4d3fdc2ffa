"""A late-interaction model that embeds: text in, vectors of its tokens out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simlm.errors import UserError
from simlm.models.embedding import embed_token_vectors
from simlm.models.late_interaction import NOT_PACKED
from simlm.models.text import Tokens
from simlm.models.token_retriever import ENTRY, TokenRetriever, open_token_retriever
from simlm.retrieval.encoder import FolderEncoder
from simlm.vectors.vectors import Vectors

if TYPE_CHECKING:
    import torch

    from simlm.hardware import Precision
    from simlm.scoring.maxsim import TokenVectors


class TokenEncoder(FolderEncoder):
    """The late-interaction model of a folder, ready for inference.

    Attributes
    ----------
    lengths
        Tokens that are read of a text, its marker left out: the token cache holds passages without theirs.
    """

    ragged = True

    @classmethod
    def _check(cls, folder: str | Path, manifest: dict[str, Any]) -> None:
        if ENTRY not in manifest:
            raise UserError(f"{folder} is a {manifest['kind']}, which has no vectors of tokens; name a late-interaction model")

    @staticmethod
    def opened(folder: str | Path) -> TokenRetriever:
        return open_token_retriever(folder)

    def _set_up(self, folder: str | Path, sha256: str, precision: Precision, batch_size: int) -> TokenRetriever:
        opened = super()._set_up(folder, sha256, precision, batch_size)
        self._reader, self.reader = opened.reader, opened.reader.plain
        self.lengths: dict[str, int] = self.reader.lengths
        return opened

    packed = False

    def pack(self) -> str:
        """Why it goes on reading padding; see :meth:`simlm.retrieval.encoder.TextEncoder.pack`."""
        return NOT_PACKED

    @property
    def dimension(self) -> int:
        """Width of the vectors."""
        return self.model.dimension

    def queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors of the tokens of queries."""
        return self._embed(self.model.queries, self._reader.queries(texts))

    def passages(self, titles: Sequence[str], texts: Sequence[str]) -> Vectors:
        """Vectors of the tokens of (title, text) pairs."""
        return self._embed(self.model.passages, self._reader.passages(titles, texts))

    def embed(self, tokens: Tokens) -> Vectors:
        """Vectors of passages from the token cache, whose markers are put in here."""
        return self._embed(self.model.passages, self._reader.marked(tokens))

    def _embed(self, forward: Callable[[dict[str, torch.Tensor]], TokenVectors], tokens: Tokens) -> Vectors:
        found = self._embedded(embed_token_vectors, forward, tokens)
        return Vectors.ragged(self._numbers(np.concatenate([np.zeros((0, self.dimension), np.float32), *found])), [len(own) for own in found])
