"""Whole-word masks against a plain word-by-word reference, and the invariants of the method."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlm.training.masking import bottleneck_masks, whole_word_mask, word_ids
from simlm.training.randomness import uniform

CONTINUES = np.array([False] * 6 + [True] * 3)
SPECIAL = np.array([True] * 3 + [False] * 6)
"""Vocabulary: 0 = [PAD], 1 = [CLS], 2 = [SEP], 3 to 5 = word starts, 6 to 8 = ## pieces."""


def reference_mask(tokens: list[int], probability: float, draws: np.ndarray) -> list[bool]:
    """The rules, one word after the other, as one would do it by hand."""
    words: list[list[int]] = []
    for place, token in enumerate(tokens):
        if SPECIAL[token]:
            continue
        if CONTINUES[token] and words and words[-1][-1] == place - 1:
            words[-1].append(place)
        else:
            words.append([place])
    length = sum(token != 0 for token in tokens)
    budget = max(1, round(length * probability))
    masked: list[int] = []
    for word in sorted(range(len(words)), key=lambda w: (draws[w], w)):
        if len(masked) + len(words[word]) <= budget:
            masked += words[word]
    return [place in masked for place in range(len(tokens))]


@settings(max_examples=200)
@given(st.lists(st.integers(3, 8), min_size=1, max_size=30), st.lists(st.integers(3, 8), min_size=0, max_size=30), st.floats(0.05, 0.95), st.integers(0, 10**6))
def test_mask_equals_word_by_word_reference(title: list[int], text: list[int], probability: float, seed: int) -> None:
    rows = [[1, *title, 2, *text, 2], [1, *text, *title, 2]]
    width = max(map(len, rows)) + 2
    padded = np.array([row + [0] * (width - len(row)) for row in rows])
    lengths = np.array([len(row) for row in rows])
    draws = uniform(seed, 0, np.arange(2)[:, None], width)
    mask = whole_word_mask(word_ids(padded, CONTINUES, SPECIAL), lengths, probability, draws)
    for row in range(2):
        assert mask[row].tolist() == reference_mask(padded[row].tolist(), probability, draws[row])


def test_word_that_overshoots_is_skipped_not_cut() -> None:
    tokens = np.array([[1, 3, 6, 6, 4, 2, 0, 0, 0, 0]])  # a word of three tokens, then one of one; budget round(6 × 0.3) = 2
    mask = whole_word_mask(word_ids(tokens, CONTINUES, SPECIAL), np.array([6]), 0.3, np.array([[0.1, 0.9]]))
    assert mask[0].tolist() == [False, False, False, False, True, False, False, False, False, False]


def test_budget_is_at_least_one() -> None:
    tokens = np.array([[1, 3, 2]])
    assert whole_word_mask(word_ids(tokens, CONTINUES, SPECIAL), np.array([3]), 0.01, np.array([[0.5]])).sum() == 1


def _random_passages(rows: int, length: int) -> np.ndarray:
    draw = np.random.default_rng(0)
    tokens = draw.integers(3, 9, size=(rows, length))
    tokens[:, 0], tokens[:, length // 3], tokens[:, -1] = 1, 2, 2
    return tokens


def test_encoder_mask_is_subset_and_shares_are_as_configured() -> None:
    tokens = _random_passages(400, 96)
    words = word_ids(tokens, CONTINUES, SPECIAL)
    lengths = np.full(400, 96)
    keys = np.arange(400)[:, None]
    encoder, decoder = bottleneck_masks(words, lengths, 0.3, 0.5, (uniform(1, 0, keys, 96), uniform(1, 1, keys, 96)))
    assert not (encoder & ~decoder).any()
    assert not (decoder & SPECIAL[tokens]).any()
    assert encoder.mean() == pytest.approx(0.3, abs=0.01)
    # 0.3 + 0.7 × (0.5 - 0.3) / (1 - 0.3) = 0.5
    assert decoder.mean() == pytest.approx(0.5, abs=0.01)


def test_equal_probabilities_give_equal_masks() -> None:
    tokens = _random_passages(20, 40)
    words = word_ids(tokens, CONTINUES, SPECIAL)
    keys = np.arange(20)[:, None]
    encoder, decoder = bottleneck_masks(words, np.full(20, 40), 0.3, 0.3, (uniform(1, 0, keys, 40), uniform(1, 1, keys, 40)))
    assert (encoder == decoder).all()


def test_uniform_depends_on_its_key_alone() -> None:
    keys = np.array([[0, 1], [0, 2], [1, 1]])
    whole, part = uniform(7, 3, keys, 50), uniform(7, 3, keys[1:], 20)
    assert (whole[1:, :20] == part).all()
    assert len(np.unique(whole)) == whole.size
    assert not np.isclose(whole, uniform(8, 3, keys, 50)).any(axis=1).all()


def test_uniform_is_uniform_and_uncorrelated() -> None:
    from scipy.stats import kstest

    draws = uniform(3, 0, np.arange(300)[:, None], 200)
    assert kstest(draws.ravel(), "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(draws[:-1].ravel(), draws[1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(draws[:, :-1].ravel(), draws[:, 1:].ravel())[0, 1]) < 0.01
