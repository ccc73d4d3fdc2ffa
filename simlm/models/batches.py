"""Batches without waste: texts sorted by length, cut into padded pieces, and put back into their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import numpy as np

from simlm.models.text import Tokens, pad

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast


class Pieces(TypedDict):
    """Padded pieces of one list of texts: a plain dict, which the Trainer can move to a device.

    Attributes
    ----------
    batches
        What :func:`simlm.models.text.pad` returns, one per piece.
    places
        int64, shape (texts,): text ``i`` is row ``places[i]`` of the pieces joined.
    """

    batches: list[dict[str, torch.Tensor]]
    places: torch.Tensor


def cut_by_length(lengths: np.ndarray, *, most_texts: int | None = None, most_tokens: int | None = None, waste: float = 0.15) -> list[np.ndarray]:
    """Cut texts into pieces of similar length.

    Parameters
    ----------
    most_texts, most_tokens
        Largest piece in texts, and in tokens with padding.
    waste
        A piece is closed when more than this share of it would be padding.

    Returns
    -------
    list of numpy.ndarray
        Indices of the texts of each piece; longest texts first. A function of ``lengths`` alone.

    >>> [piece.tolist() for piece in cut_by_length(np.array([3, 9, 3, 9, 3, 3]), waste=0.1)]
    [[1, 3], [0, 2, 4, 5]]
    """
    order = np.argsort(-lengths, kind="stable")
    pieces, start, total = [], 0, 0
    for place, index in enumerate(order.tolist()):
        count, longest = place - start, int(lengths[order[start]])
        padded = (count + 1) * longest
        full = (most_texts is not None and count >= most_texts) or (most_tokens is not None and padded > most_tokens)
        # A piece of a few texts is not worth a forward pass of its own.
        wasteful = count >= min(32, len(order) // 4) and padded - total - int(lengths[index]) > waste * padded
        if count and (full or wasteful):
            pieces.append(order[start:place])
            start, total = place, 0
        total += int(lengths[index])
    if len(order):
        pieces.append(order[start:])
    return pieces


def in_pieces(tokens: Tokens, tokenizer: PreTrainedTokenizerFast, *, most_texts: int | None = None) -> Pieces:
    """Pad ``tokens`` in pieces of similar length."""
    import torch

    cut = cut_by_length(tokens.lengths, most_texts=most_texts)
    order = np.concatenate(cut) if cut else np.zeros(0, np.int64)
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return {"batches": [pad(tokens.take(piece), tokenizer) for piece in cut], "places": torch.from_numpy(places)}
