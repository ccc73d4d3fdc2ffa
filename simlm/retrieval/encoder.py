"""A trained bi-encoder that embeds: text in, vectors out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from simlm.config.kinds.roles import Retriever
from simlm.errors import UserError
from simlm.models.embedding import embed_tokens
from simlm.models.loading import check_length
from simlm.models.manifest import foreign_identity, identity_of, verified_manifest
from simlm.models.retriever import Retriever as OpenedRetriever
from simlm.models.retriever import open_retriever
from simlm.models.text import Tokens

if TYPE_CHECKING:
    from simlm.hardware import Precision


class FolderEncoder(ABC):
    """What every encoder of a model folder is made of, whatever it makes of a text.

    Parameters
    ----------
    folder
        ``Paths.model(name)`` of a model that embeds.
    precision
        ``simlm.hardware.choose_precision(...)``; vectors are normalised in fp32 whatever it is.
    batch_size
        Texts per forward pass. It belongs to the result: a text's neighbours in its batch decide how far it is padded, and so the last bits.

    Raises
    ------
    UserError
        If the folder holds no complete model of the kind.
    """

    def __init__(self, folder: str | Path, precision: Precision, batch_size: int = 128) -> None:
        manifest = verified_manifest(folder)
        self._check(folder, manifest)
        self._set_up(folder, identity_of(manifest), precision, batch_size)

    @classmethod
    def published(cls, folder: Path, precision: Precision, batch_size: int = 128) -> Self:
        """The same of a folder that this project did not write: read as it says of itself, as the ``given_`` kind of its own reads it."""
        encoder = cls.__new__(cls)
        encoder._set_up(folder, foreign_identity(folder), precision, batch_size)
        return encoder

    @staticmethod
    @abstractmethod
    def opened(folder: str | Path) -> Any:
        """The model of a folder."""

    @classmethod
    @abstractmethod
    def _check(cls, folder: str | Path, manifest: dict[str, Any]) -> None:
        """Refuse a folder of another kind."""

    def _set_up(self, folder: str | Path, sha256: str, precision: Precision, batch_size: int) -> Any:
        """Make the model ready; returns it as it was opened."""
        import torch

        from simlm.models.halving import Halving

        opened = self.opened(folder)
        for what, length in opened.lengths.items():
            check_length(opened.encoder, length, f"{what}_length", folder)
        self.sha256, self.precision, self.batch_size, self.tokenizer = sha256, precision, batch_size, opened.tokenizer
        self.pieces = Halving(batch_size, "texts", "encoding.batch_size")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = opened.model().eval().to(self.device)
        return opened

    def _embedded(self, embed: Callable[..., Any], forward: Callable[..., Any], tokens: Tokens) -> Any:
        """What ``embed`` (of :mod:`simlm.models.embedding`) makes of texts."""
        import torch

        multiple, autocast = 8 if self.precision.bf16 else 1, torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision.bf16)
        with torch.inference_mode(), autocast:
            return self.pieces.of(lambda most: embed(forward, tokens, self.tokenizer, device=self.device, batch_size=most, multiple=multiple))

    @staticmethod
    def _numbers(values: np.ndarray) -> np.ndarray:
        """The same, refused where one is not a number."""
        if not np.isfinite(values).all():
            raise UserError("the model gives vectors that are not numbers (NaN); its training diverged, look at its losses and train it again")
        return values


class TextEncoder(FolderEncoder):
    """The bi-encoder of a model folder, ready for inference."""

    ragged = False
    """Whether :meth:`embed` gives :class:`~simlm.vectors.vectors.Vectors` with any number per text instead of an array with one."""

    format = Retriever.format
    """What ``simlm.json`` calls the folders that it opens."""

    @staticmethod
    def opened(folder: str | Path) -> OpenedRetriever:
        """The model of a folder."""
        return open_retriever(folder)

    @classmethod
    def _check(cls, folder: str | Path, manifest: dict[str, Any]) -> None:
        if manifest["kind"] != cls.format:
            raise UserError(f"{folder} is a {manifest['kind']}, which does not embed queries and passages; name a {cls.format}")
        if not {"query", "passage"} <= manifest["lengths"].keys():
            raise UserError(f"{folder}: its simlm.json lacks the lengths of queries and passages; run simlm train --model {Path(folder).name} again")

    def _set_up(self, folder: str | Path, sha256: str, precision: Precision, batch_size: int) -> OpenedRetriever:
        opened = super()._set_up(folder, sha256, precision, batch_size)
        self.lengths, self.reader = opened.lengths, opened.reader
        self.said_by: str | None = opened.said_by
        return opened

    def pack(self) -> str | None:
        """Read rows of packed tokens from now on; see :func:`~simlm.models.packing.use_packing`."""
        from simlm.models.packing import use_packing

        return use_packing(self.model.encoder)

    @property
    def packed(self) -> bool:
        """Whether it reads them."""
        from simlm.models.packing import is_packed

        return is_packed(self.model.encoder)

    @property
    def dimension(self) -> int:
        """Width of the vectors."""
        return self.model.dimension

    def queries(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of queries, each tokenised alone; fp32, shape (texts, dimension)."""
        return self.embed(self.reader.queries(texts))

    def passages(self, titles: Sequence[str], texts: Sequence[str]) -> np.ndarray:
        """Vectors of (title, text) pairs; fp32, shape (texts, dimension)."""
        return self.embed(self.reader.passages(titles, texts))

    def embed(self, tokens: Tokens) -> np.ndarray:
        """Vectors in the model's way of reading; batches are made of texts of similar length. fp32, shape (texts, dimension)."""
        if not len(tokens):
            return np.empty((0, self.dimension), np.float32)
        return self._numbers(self._embedded(embed_tokens, self.model.embed, tokens))
