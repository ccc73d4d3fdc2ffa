"""Whole-word masks (paper section 3.1; the rules are those of the authors' collator).

A word is a token plus those after it that go on with it, such as the ``##`` pieces of WordPiece. Special tokens are never masked. The budget of a passage is
max(1, round(number of tokens with specials × p)); words are visited in random order, and one that would
overshoot the budget is skipped, not cut.
"""

from __future__ import annotations

import numpy as np

ENCODER_STREAM, DECODER_STREAM = 0, 1


def word_ids(tokens: np.ndarray, continues: np.ndarray, special: np.ndarray, ends: np.ndarray | None = None) -> np.ndarray:
    """Number the words of each row from 0; -1 at special tokens.

    Parameters
    ----------
    tokens
        Token ids, shape (rows, length).
    continues, special, ends
        Per token of the vocabulary: whether it goes on with the word before it, whether it is special (padding included), whether a
        word ends behind it (None: behind none); see :class:`~simlm.text.vocabulary.Vocabulary`.

    >>> vocabulary = {"[CLS]": 0, "play": 1, "##ing": 2}
    >>> word_ids(np.array([[0, 1, 2, 1]]), np.array([False, False, True]), np.array([True, False, False]))
    array([[-1,  0,  0,  1]])
    """
    is_special = special[tokens]
    last = is_special if ends is None else is_special | ends[tokens]
    first = np.ones_like(is_special)
    first[:, 1:] = last[:, :-1]
    starts = ~is_special & (~continues[tokens] | first)
    words = np.cumsum(starts, axis=1) - 1
    return np.where(is_special, -1, words)


def whole_word_mask(words: np.ndarray, lengths: np.ndarray, probability: float, draws: np.ndarray) -> np.ndarray:
    """Choose whole words up to the budget.

    Parameters
    ----------
    words
        Result of :func:`word_ids`, shape (rows, length).
    lengths
        Tokens per row, special ones included, padding excluded.
    probability
        Share of the tokens to mask.
    draws
        Uniform numbers, shape (rows, ≥ most words of a row); the word with the smallest number is visited first.

    Returns
    -------
    numpy.ndarray
        bool, shape (rows, length).
    """
    rows, length = words.shape
    most = int(words.max()) + 1 if words.size else 0
    if most <= 0:
        return np.zeros(words.shape, dtype=bool)
    # np.rint rounds halves to even, as Python's round does.
    budget = np.maximum(1, np.rint(lengths * probability)).astype(np.int64)
    row, place = np.nonzero(words >= 0)
    word = words[row, place]
    sizes = np.zeros((rows, most), dtype=np.int64)
    np.add.at(sizes, (row, word), 1)
    order = np.argsort(np.where(sizes > 0, draws[:, :most], np.inf), axis=1, kind="stable")
    sizes_in_order = np.take_along_axis(sizes, order, axis=1)
    taken_in_order = np.zeros((rows, most), dtype=bool)
    used = np.zeros(rows, dtype=np.int64)
    for visit in range(most):
        size = sizes_in_order[:, visit]
        fits = (size > 0) & (used + size <= budget)
        taken_in_order[:, visit] = fits
        used += size * fits
    taken = np.zeros((rows, most), dtype=bool)
    np.put_along_axis(taken, order, taken_in_order, axis=1)
    mask = np.zeros((rows, length), dtype=bool)
    mask[row, place] = taken[row, word]
    return mask


def bottleneck_masks(
    words: np.ndarray, lengths: np.ndarray, encoder: float, decoder: float, draws: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Masks of encoder and decoder; the encoder's is a subset of the decoder's. A share of 0 masks nothing.

    The decoder's mask is the encoder's or an independent one with probability (decoder - encoder) / (1 - encoder),
    so that the expected share of its union is ``decoder``.
    """
    first = whole_word_mask(words, lengths, encoder, draws[0]) if encoder else np.zeros(words.shape, dtype=bool)
    extra = (decoder - encoder) / (1 - encoder)
    if extra <= 0:
        return first, first.copy()
    return first, first | whole_word_mask(words, lengths, extra, draws[1])


def hidden_places(words: np.ndarray, lengths: np.ndarray, share: float, draws: np.ndarray) -> np.ndarray:
    """For each position a whole-word sample of the places that it may not look at (RetroMAE's decoder).

    Parameters
    ----------
    words, lengths
        As in :func:`whole_word_mask`; the texts, shape (rows, length).
    draws
        Uniform numbers, shape (rows, length, ≥ most words of a row).

    Returns
    -------
    numpy.ndarray
        bool, shape (rows, length, length); special tokens are hidden from nobody.
    """
    rows, length = words.shape
    masks = whole_word_mask(np.repeat(words, length, axis=0), np.repeat(lengths, length), share, draws.reshape(rows * length, -1))
    return masks.reshape(rows, length, length)
