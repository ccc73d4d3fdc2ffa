"""One vector per token: late interaction (Khattab and Zaharia, SIGIR 2020).

Every vector of the query looks for the passage's most similar one; the score is the sum of what they find.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

NUMBERS = 2**26
"""Similarities of tokens in memory at once, unless those of a single query are more."""


@dataclass(frozen=True)
class TokenVectors:
    """Padded token vectors of several texts.

    Attributes
    ----------
    values
        Shape (texts, tokens, dimension).
    mask
        Which of them count, bool, shape (texts, tokens).
    """

    values: torch.Tensor
    mask: torch.Tensor

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> TokenVectors:
        """Some of the texts, by a slice or a tensor of indices."""
        return TokenVectors(self.values[index], self.mask[index])


class MaxSim:
    r"""A :class:`~simlm.scoring.base.Score` of token vectors: :math:`\sum_i \max_j q_i \cdot d_j` over the tokens that count.

    A passage without a token has the score -inf; a query without one gives 0 to all others. Only the positions of the maxima are
    kept for the gradient, so that memory is that of the vectors, and of the similarities of a few queries at a time.

    >>> query = TokenVectors(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[True, True]]))
    >>> passages = TokenVectors(torch.tensor([[[1.0, 0.0], [0.0, 9.0]], [[0.5, 0.5], [0.0, 2.0]]]), torch.tensor([[True, False], [True, True]]))
    >>> maxsim(query, passages).tolist()  # 1 + 0, as the 9 is masked; 0.5 + 2
    [[1.0, 2.5]]
    >>> maxsim.own(query, passages).tolist()
    [[1.0, 2.5]]
    """

    def __call__(self, queries: TokenVectors, passages: TokenVectors) -> torch.Tensor:
        texts, tokens, dimension = passages.values.shape
        flat = passages.values.reshape(texts * tokens, dimension)
        at_once = max(1, NUMBERS // max(1, queries.values.shape[1] * texts * tokens))
        parts = [
            _reduced((values @ flat.T).unflatten(-1, (texts, tokens)).transpose(1, 2), mask, passages.mask)
            for values, mask in zip(queries.values.split(at_once), queries.mask.split(at_once))
        ]
        return torch.cat(parts)

    def own(self, queries: TokenVectors, passages: TokenVectors) -> torch.Tensor:
        group = len(passages) // len(queries)
        values, mask = passages.values.unflatten(0, (-1, group)), passages.mask.unflatten(0, (-1, group))
        return _reduced(queries.values[:, None] @ values.transpose(2, 3), queries.mask, mask)


def _reduced(similarities: torch.Tensor, queries: torch.Tensor, passages: torch.Tensor) -> torch.Tensor:
    """Scores (queries, passages) of similarities (queries, passages, query tokens, passage tokens); ``passages`` may have one mask for all queries."""
    # `amax` would keep all similarities for the gradient.
    best = similarities.masked_fill(~passages[..., None, :], -torch.inf).max(-1).values
    scores = best.masked_fill(~queries[:, None], 0).sum(-1)
    return scores.masked_fill(~passages.any(-1), -torch.inf)


maxsim = MaxSim()
