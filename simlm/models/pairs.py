"""(query, passage) inputs of a cross-encoder, joined from tokens that were made once.

A passage is read beside many queries; tokenizing it anew each time would cost as much as a small model. Joining
gives exactly what the tokenizer gives for (query, "title: text"), the longer side cut first.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from simlm.errors import UserError
from simlm.models.text import BLOCK, Tokens, titled_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class PairJoiner:
    """Joins query tokens and passage tokens as the tokenizer would.

    Parameters
    ----------
    length
        Longest pair in tokens, special ones included.
    untitled
        See :func:`~simlm.models.text.titled_texts`.

    Raises
    ------
    UserError
        If the tokenizer's pairs are not made of fixed special tokens around two texts.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, length: int, untitled: str = "text") -> None:
        self.tokenizer, self.length, self.untitled = tokenizer, length, untitled
        probe = tokenizer("a", "a b", return_special_tokens_mask=True, return_token_type_ids=True)
        special = np.array(probe["special_tokens_mask"], bool)
        ids, types = np.array(probe["input_ids"], np.int32), np.array(probe["token_type_ids"])
        text = np.flatnonzero(~special)
        gaps = np.flatnonzero(np.diff(text) > 1)
        if len(gaps) != 1:
            raise UserError(f"the tokenizer {type(tokenizer).__name__} does not set (query, passage) pairs apart by special tokens; use a BERT-like tokenizer")
        end, start = int(text[gaps[0]]) + 1, int(text[gaps[0] + 1])
        self.before, self.between, self.after = ids[: text[0]], ids[end:start], ids[text[-1] + 1 :]
        self.typed = bool(types.any())
        self.type_start = int(types.argmax()) - end if self.typed else 0
        self.room = length - len(self.before) - len(self.between) - len(self.after)
        if self.room < 2:
            raise UserError(f"max_length {length} leaves no room for a query and a passage; raise it")

    def queries(self, texts: Sequence[str]) -> Tokens:
        """Tokens of queries without special ones, for :meth:`join` alone."""
        return self._plain(list(texts))

    def passages(self, titles: Sequence[str], texts: Sequence[str]) -> Tokens:
        """Tokens of "title: text" without special ones, for :meth:`join` alone."""
        return self._plain(titled_texts(titles, texts, self.untitled))

    @functools.cached_property
    def _numbers(self) -> Tokens:
        return self._plain([str(number) for number in range(101)])

    def _plain(self, texts: list[str]) -> Tokens:
        """Tokens cut to what fits; ``second`` keeps the whole text's length, which decides where a pair is cut."""
        parts = []
        for start in range(0, len(texts), BLOCK):
            encoded = self.tokenizer(
                texts[start : start + BLOCK], add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
            )["input_ids"]
            cut = Tokens.from_lists([ids[: self.room] for ids in encoded])
            parts.append(Tokens(cut.ids, cut.offsets, np.fromiter(map(len, encoded), np.int32, len(encoded))))
        return Tokens.join(parts)

    def join(self, queries: Tokens, passages: Tokens, hints: np.ndarray | None = None) -> Tokens:
        """Pair query ``i`` with passage ``i``; the longer one is cut first, as the tokenizer does it.

        Parameters
        ----------
        hints
            Numbers from 0 to 100 (see :mod:`simlm.lexical.hints`), shape (pairs,), each written before its passage:
            the pair is then (query, "57 title: text").
        """
        if hints is not None:
            passages = _concatenated(self._numbers.take(hints), passages)
        first, second = truncated_lengths(queries.second.astype(np.int64), passages.second.astype(np.int64), self.room)
        pairs = len(first)
        pieces = [
            (np.tile(self.before, pairs), np.full(pairs, len(self.before))),
            (_heads(queries, first), first),
            (np.tile(self.between, pairs), np.full(pairs, len(self.between))),
            (_heads(passages, second), second),
            (np.tile(self.after, pairs), np.full(pairs, len(self.after))),
        ]
        lengths = sum(length for _, length in pieces)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        ids, start = np.empty(offsets[-1], np.int32), offsets[:-1].copy()
        for values, length in pieces:
            ids[_ranges(start, length)] = values
            start += length
        type_start = len(self.before) + first + self.type_start
        return Tokens(ids, offsets, (type_start if self.typed else lengths).astype(np.int32))


def _concatenated(first: Tokens, second: Tokens) -> Tokens:
    """Text ``i`` of one before text ``i`` of the other."""
    offsets = np.concatenate([[0], np.cumsum(first.lengths + second.lengths)])
    ids = np.empty(offsets[-1], np.int32)
    for part, starts in ((first, offsets[:-1]), (second, offsets[:-1] + first.lengths)):
        ids[_ranges(starts, part.lengths)] = part.ids[_ranges(part.offsets[:-1], part.lengths)]
    return Tokens(ids, offsets, first.second + second.second)


def truncated_lengths(first: np.ndarray, second: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths that the tokenizers library's ``longest_first`` leaves of pairs that may hold ``room`` tokens.

    >>> [part.tolist() for part in truncated_lengths(np.array([2, 9, 9]), np.array([3, 2, 9]), 7)]
    [[2, 5, 3], [3, 2, 4]]
    """
    shorter = np.minimum(first, second)
    kept_shorter, kept_longer = shorter, np.maximum(shorter, room - shorter)
    both = kept_shorter + kept_longer > room
    kept_shorter, kept_longer = np.where(both, room // 2, kept_shorter), np.where(both, room - room // 2, kept_longer)
    fits = first + second <= room
    swapped = first > second
    one, two = np.where(swapped, kept_longer, kept_shorter), np.where(swapped, kept_shorter, kept_longer)
    return np.where(fits, first, np.minimum(one, first)), np.where(fits, second, np.minimum(two, second))


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """``starts[i], starts[i] + 1, …`` for ``lengths[i]`` places, one text after the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)


def _heads(tokens: Tokens, lengths: np.ndarray) -> np.ndarray:
    return tokens.ids[_ranges(tokens.offsets[:-1], lengths)]
