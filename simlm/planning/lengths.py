"""How long texts are in tokens: from words per text, with a log-normal spread, cut at a limit or padded to the longest."""

from __future__ import annotations

import math
from statistics import NormalDist

TOKENS_PER_WORD = 1.3
"""WordPiece tokens per word of English with BERT's vocabulary of 30,522."""
TOKENS_PER_WORD_SMALL = 1.8
"""The same with a vocabulary of a few thousand."""
SMALL_VOCABULARY = 20_000
SPREAD = 0.5
"""Standard deviation of the logarithm of a text's length."""
QUERY_WORDS = 7


def tokens_of(words: float, vocabulary: int) -> float:
    """Mean tokens of a text, its two or three special ones included."""
    return 3 + words * (TOKENS_PER_WORD if vocabulary >= SMALL_VOCABULARY else TOKENS_PER_WORD_SMALL)


def mean_cut(mean: float, limit: int) -> float:
    """Mean length after cutting at ``limit``.

    >>> round(mean_cut(80, 144), 1), mean_cut(80, 10_000) > 79.9
    (76.9, True)
    """
    normal, centre = NormalDist(), math.log(mean) - SPREAD**2 / 2
    place = (math.log(limit) - centre) / SPREAD
    return mean * normal.cdf(place - SPREAD) + limit * (1 - normal.cdf(place))


def longest(mean: float, limit: int, texts: int) -> float:
    """Length to which a batch of ``texts`` is padded: about its longest text, and no more than ``limit``.

    >>> longest(80, 144, 256), 80 < longest(80, 1000, 2) < longest(80, 1000, 256) < 1000
    (144, True)
    """
    centre = math.log(mean) - SPREAD**2 / 2
    return min(limit, math.exp(centre + SPREAD * NormalDist().inv_cdf(1 - 1 / (texts + 1))))
