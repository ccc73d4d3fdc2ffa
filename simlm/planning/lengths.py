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


def longest(mean: float, limit: int, texts: int, batches: int = 1) -> float:
    """Mean length to which batches of ``texts`` are padded: about their longest text, and no more than ``limit``.

    ``batches``: of texts that were sorted by length before they were cut into so many batches.

    >>> longest(80, 144, 256), 80 < longest(80, 1000, 2) < longest(80, 1000, 256) < 1000
    (144.0, True)
    >>> [round(longest(80, 144, 128, batches)) for batches in (1, 2, 16)]
    [144, 107, 81]
    """
    centre = math.log(mean) - SPREAD**2 / 2
    shares = [*((batch + 1) / batches for batch in range(batches - 1)), 1 - 1 / (texts * batches + 1)]
    return sum(min(limit, math.exp(centre + SPREAD * NormalDist().inv_cdf(share))) for share in shares) / batches
