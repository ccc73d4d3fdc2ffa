"""Late interaction: an encoder whose token states, made narrow by a linear layer and L2-normalised, are the vectors of a text.

Khattab and Zaharia, SIGIR 2020; Santhanam et al., NAACL 2022 (ColBERTv2, arXiv 2112.01488).
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from simlm.errors import UserError
from simlm.models.batches import in_pieces
from simlm.models.reading import TITLES, Reading, TextReader
from simlm.models.text import Tokens
from simlm.scoring.maxsim import TokenVectors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

AUGMENTATIONS = ("unattended", "attended", "none")


@dataclass(frozen=True)
class TokenReading:
    """How texts become vectors of tokens; the defaults are ColBERTv2's.

    Attributes
    ----------
    query_marker, passage_marker
        Token behind [CLS] of every query, every passage.
    augmentation
        Queries are filled up with [MASK]: ``unattended`` masks see the query and are not seen by it, ``attended`` ones are tokens
        like others; ``none``: they are not filled up.
    skip_punctuation
        Whether a passage's punctuation marks have no vectors.
    title
        ``pair``, ``joined`` or ``none``, as in :class:`~simlm.models.reading.Reading`.
    """

    query_marker: str = "[unused0]"
    passage_marker: str = "[unused1]"
    augmentation: str = "unattended"
    skip_punctuation: bool = True
    title: str = "none"

    @classmethod
    def of_manifest(cls, said: dict[str, Any]) -> TokenReading:
        """What ``token_reading`` of ``simlm.json`` says; what it leaves out has its default.

        Raises
        ------
        UserError
            If it says something that is not known here.
        """
        default = cls()
        values = {name: said.get(name, value) for name, value in vars(default).items()}
        fits = all(type(values[name]) is type(value) for name, value in vars(default).items())
        if not (fits and values["augmentation"] in AUGMENTATIONS and values["title"] in TITLES):
            raise UserError(f"simlm.json says of a model that it reads so: {values}, which this version does not know; import or train the model again")
        return cls(**values)

    def changed(self, settings: Any) -> TokenReading:
        """This reading with what a block of the configuration sets; null leaves what the model says of itself."""
        return TokenReading(**{name: value if (given := getattr(settings, name, None)) is None else given for name, value in vars(self).items()})

    @property
    def passages(self) -> Reading:
        """How a passage's title and text are tokenized, before its marker is put in."""
        return Reading(title=self.title)


def with_marker(tokens: Tokens, marker: int) -> Tokens:
    """Tokens of texts with a marker behind the first one of each.

    >>> with_marker(Tokens.from_lists([[2, 7, 3], [2, 3]]), 1).ids.tolist()
    [2, 1, 7, 3, 2, 1, 3]
    """
    ids = np.insert(np.asarray(tokens.ids), np.asarray(tokens.offsets[:-1]) + 1, marker)
    return Tokens(ids, tokens.offsets + np.arange(len(tokens) + 1), tokens.second + np.int32(1))


@dataclass(frozen=True)
class TokenReader:
    """Queries and passages to tokens, in a late-interaction model's way of reading.

    Parameters
    ----------
    lengths
        Longest ``query`` and ``passage`` in tokens, markers included.
    """

    tokenizer: PreTrainedTokenizerFast
    lengths: dict[str, int]
    reading: TokenReading

    @property
    def plain(self) -> TextReader:
        """Reads texts without their markers, a token shorter: what the token cache holds of passages."""
        return TextReader(self.tokenizer, {side: length - 1 for side, length in self.lengths.items()}, self.reading.passages)

    def queries(self, texts: Sequence[str]) -> Tokens:
        """Tokens of queries with their markers."""
        return with_marker(self.plain.queries(texts), self.marker("query"))

    def passages(self, titles: Sequence[str], texts: Sequence[str]) -> Tokens:
        """Tokens of passages with their markers."""
        return self.marked(self.plain.passages(titles, texts))

    def marked(self, passages: Tokens) -> Tokens:
        """Passages from the token cache with their markers."""
        return with_marker(passages, self.marker("passage"))

    def marker(self, side: str) -> int:
        """Id of the marker of a ``query`` or a ``passage``."""
        return self.tokenizer.convert_tokens_to_ids(getattr(self.reading, f"{side}_marker"))


def punctuation_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Ids of the first word pieces of ASCII's punctuation marks; those that the vocabulary lacks are left out."""
    pieces = (tokenizer.encode(mark, add_special_tokens=False)[:1] for mark in string.punctuation)
    return sorted({piece[0] for piece in pieces if piece} - {tokenizer.unk_token_id})


NOT_PACKED = "late interaction reads the states of tokens that no other token looks at, which a row does not have"
"""Why rows of packed tokens (:mod:`simlm.models.packing`) are not for this model: [MASK] fills queries up without being looked at."""


class LateInteractionModel(nn.Module):
    """Vectors of the tokens of padded batches.

    Parameters
    ----------
    encoder
        A bare transformers encoder.
    projection
        Linear layer without bias over its states.
    reader
        Says how queries are filled up and which tokens of a passage count.
    most_texts
        Texts forwarded at once. With a limit no activations are kept but computed again in the backward pass, as in
        :class:`~simlm.models.biencoder.BiEncoderModel`.
    """

    def __init__(self, encoder: nn.Module, projection: nn.Linear, reader: TokenReader, most_texts: int | None = None) -> None:
        super().__init__()
        self.encoder, self.projection, self.most_texts = encoder, projection, most_texts
        self.query_length, self.augmentation = reader.lengths["query"], reader.reading.augmentation
        self.pad_id, self.mask_id = reader.tokenizer.pad_token_id, reader.tokenizer.mask_token_id
        skipped = punctuation_ids(reader.tokenizer) if reader.reading.skip_punctuation else []
        self.register_buffer("skipped", torch.tensor(skipped, dtype=torch.long), persistent=False)

    @property
    def dimension(self) -> int:
        """Width of the vectors."""
        return self.projection.out_features

    def queries(self, batch: dict[str, torch.Tensor]) -> TokenVectors:
        """Vectors of padded queries; with an augmentation all ``query_length`` of each count."""
        filled, counted = self._filled(batch)
        return TokenVectors(self._embed({**filled, "counted": counted}), counted)

    def passages(self, batch: dict[str, torch.Tensor]) -> TokenVectors:
        """Vectors of padded passages, forwarded in pieces of similar length; padding and punctuation do not count."""
        counted = batch["attention_mask"].bool() & ~torch.isin(batch["input_ids"], self.skipped)
        pieces, places = in_pieces({**batch, "counted": counted}, self.most_texts)
        if self.most_texts is not None and torch.is_grad_enabled():
            parts = [checkpoint(self._embed, piece, use_reentrant=False) for piece in pieces]
        else:
            parts = [self._embed(piece) for piece in pieces]
        width = counted.shape[1]
        values = torch.cat([functional.pad(part, (0, 0, 0, width - part.shape[1])) for part in parts])
        return TokenVectors(values[places], counted)

    def _embed(self, piece: dict[str, torch.Tensor]) -> torch.Tensor:
        """fp32, shape (texts, length, dimension), zeros where nothing counts."""
        states = self.encoder(**{name: values for name, values in piece.items() if name != "counted"}).last_hidden_state
        with torch.autocast(states.device.type, enabled=False):
            return functional.normalize(self.projection(states.to(self.projection.weight.dtype)), dim=-1) * piece["counted"][..., None]

    def _filled(self, batch: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Queries filled up with [MASK], and what counts of them."""
        if self.augmentation == "none":
            return batch, batch["attention_mask"].bool()
        missing = self.query_length - batch["input_ids"].shape[1]
        # Padding beyond the length holds no token.
        filled = {name: functional.pad(values, (0, missing), value=self.pad_id if name == "input_ids" else 0) for name, values in batch.items()}
        there = filled["attention_mask"].bool()
        filled["input_ids"] = torch.where(there, filled["input_ids"], self.mask_id)
        if self.augmentation == "attended":
            filled["attention_mask"] = torch.ones_like(filled["attention_mask"])
        return filled, torch.ones_like(there)
