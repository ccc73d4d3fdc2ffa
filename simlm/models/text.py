"""Text to tokens: queries alone and passages with their titles; (query, passage) pairs are joined from tokens in :mod:`simlm.models.pairs`.

A passage is the pair (title, text), with ``-`` for an absent title; a query stands alone (paper, section 4.1).
A cross-encoder reads (query, "title: text"), or the text alone where there is no title.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

ABSENT_TITLE = "-"
BLOCK = 1024
"""Texts tokenised at once; bounds the memory of the tokenizer's intermediate objects."""
_CHARACTERS = 6
"""Characters that nearly always make a token."""


@dataclass(frozen=True)
class Tokens:
    """Token ids of many texts, one after the other, without padding.

    Attributes
    ----------
    ids
        All ids, int32, shape (total,).
    offsets
        Text ``i`` is ``ids[offsets[i]:offsets[i + 1]]``; int64, shape (texts + 1,).
    second
        Position in text ``i`` at which the second segment (token type 1) begins, its length if there is none; int32, shape (texts,).

    >>> tokens = Tokens.from_lists([[2, 7, 3], [2, 3]])
    >>> len(tokens), tokens[0].tolist(), tokens.lengths.tolist()
    (2, [2, 7, 3], [3, 2])
    >>> tokens.take([1, 0, 1]).lengths.tolist()
    [2, 3, 2]
    """

    ids: np.ndarray
    offsets: np.ndarray
    second: np.ndarray

    @classmethod
    def from_lists(cls, ids: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None) -> Tokens:
        """Join one list of ids per text, and their token types if there are any."""
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        flat = np.fromiter(chain.from_iterable(ids), np.int32, int(lengths.sum()))
        second = lengths if types is None else lengths - np.fromiter(map(sum, types), np.int64, len(ids))
        return cls(flat, np.concatenate([[0], np.cumsum(lengths)]), second.astype(np.int32))

    @classmethod
    def join(cls, parts: Iterable[Tokens]) -> Tokens:
        """Put several after one another."""
        parts = list(parts)
        if len(parts) == 1:
            return parts[0]
        lengths = np.concatenate([part.lengths for part in parts] or [np.zeros(0, np.int64)])
        ids = np.concatenate([part.ids for part in parts] or [np.zeros(0, np.int32)])
        second = np.concatenate([part.second for part in parts] or [np.zeros(0, np.int32)])
        return cls(ids, np.concatenate([[0], np.cumsum(lengths)]), second)

    def __len__(self) -> int:
        return len(self.second)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each text."""
        return np.diff(self.offsets)

    def take(self, indices: Sequence[int] | np.ndarray) -> Tokens:
        """The texts at ``indices``, in that order (repetitions allowed)."""
        indices = np.asarray(indices, np.int64)
        starts = self.offsets[indices]
        lengths = self.offsets[indices + 1] - starts
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        positions = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return Tokens(self.ids[positions], offsets, self.second[indices])


def tokenize_queries(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], length: int) -> Tokens:
    """Tokens of queries, each alone, cut to ``length`` tokens with the special ones."""
    return _tokenize(tokenizer, texts, None, length)


def tokenize_passages(tokenizer: PreTrainedTokenizerFast, titles: Sequence[str], texts: Sequence[str], length: int, prompt: str = "") -> Tokens:
    """Tokens of (title, text) pairs, the longer side cut first; an empty title becomes ``-``, and ``prompt`` stands before it."""
    return _tokenize(tokenizer, [prompt + (title or ABSENT_TITLE) for title in titles], texts, length)


def titled_texts(titles: Sequence[str], texts: Sequence[str], untitled: str = "text") -> list[str]:
    """What a cross-encoder reads of passages; ``untitled`` says what an absent title leaves: the ``text`` alone, or a ``dash`` in its place.

    >>> titled_texts(["Fruit", ""], ["pears", "apples"]), titled_texts([""], ["apples"], "dash")
    (['Fruit: pears', 'apples'], ['-: apples'])
    """
    absent = ABSENT_TITLE if untitled == "dash" else ""
    return [f"{title or absent}: {text}" if title or absent else text for title, text in zip(titles, texts, strict=True)]


def _tokenize(tokenizer: PreTrainedTokenizerFast, first: Sequence[str], second: Sequence[str] | None, length: int) -> Tokens:
    parts = []
    for start in range(0, len(first), BLOCK):
        own, other = list(first[start : start + BLOCK]), None if second is None else list(second[start : start + BLOCK])
        if other is None or "token_type_ids" not in tokenizer.model_input_names or tokenizer.truncation_side != "right":
            parts.append(Tokens.from_lists(*_encode(tokenizer, own, other, length)))
            continue
        beginnings = [_beginning(text, length) for text in other]
        ids, types = _encode(tokenizer, own, beginnings, length)
        for i, (text, beginning) in enumerate(zip(other, beginnings)):
            # The rest could not have mattered if the pair is full and its second side the longer one.
            if len(beginning) < len(text) and not (len(ids[i]) == length and 2 * sum(types[i]) > length):
                again = _encode(tokenizer, [own[i]], [text], length)
                ids[i], types[i] = again[0][0], again[1][0]
        parts.append(Tokens.from_lists(ids, types))
    return Tokens.join(parts)


def _encode(tokenizer: PreTrainedTokenizerFast, first: list[str], second: list[str] | None, length: int) -> tuple[list[list[int]], list[list[int]] | None]:
    paired = second is not None
    encoded = tokenizer(first, second, truncation=True, max_length=length, return_attention_mask=False, return_token_type_ids=paired)
    return encoded["input_ids"], encoded.get("token_type_ids")


def _beginning(text: str, length: int) -> str:
    """As much of a long text, up to a space, as usually makes ``length`` tokens; tokenizing the rest would be thrown away."""
    limit = _CHARACTERS * length
    return text[: max(0, text.rfind(" ", 0, limit))] or text if len(text) > limit else text


def pad(tokens: Tokens, tokenizer: PreTrainedTokenizerFast, multiple: int = 1) -> dict[str, torch.Tensor]:
    """Pad a batch to its longest text, rounded up to a multiple of ``multiple`` (but not beyond the model's limit).

    Returns
    -------
    dict
        ``input_ids``, ``attention_mask`` and, if the tokenizer's model reads them, ``token_type_ids``; int64, shape (texts, longest).
    """
    import torch

    lengths = tokens.lengths
    longest = int(lengths.max(initial=1))
    longest = max(longest, min(-(-longest // multiple) * multiple, int(tokenizer.model_max_length)))
    position = np.arange(longest)
    mask = position < lengths[:, None]
    ids = np.full(mask.shape, tokenizer.pad_token_id, np.int64)
    ids[mask] = tokens.ids[tokens.offsets[0] : tokens.offsets[-1]]
    batch = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}
    if "token_type_ids" in tokenizer.model_input_names:
        batch["token_type_ids"] = torch.from_numpy(((position >= tokens.second[:, None]) & mask).astype(np.int64))
    return batch
