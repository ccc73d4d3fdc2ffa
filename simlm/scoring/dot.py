"""One vector per text: the inner product, for unit vectors the cosine."""

from __future__ import annotations

import torch


class Dot:
    """A :class:`~simlm.scoring.base.Score` of tensors of the shape (texts, dimension).

    >>> queries, passages = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]])
    >>> dot(queries, passages).tolist()
    [[3.0, 5.0], [8.0, 12.0]]
    >>> dot.own(queries, passages).tolist()
    [[3.0], [12.0]]
    """

    def __call__(self, queries: torch.Tensor, passages: torch.Tensor) -> torch.Tensor:
        return queries @ passages.T

    def own(self, queries: torch.Tensor, passages: torch.Tensor) -> torch.Tensor:
        groups = passages.view(len(queries), -1, passages.shape[-1])
        return torch.einsum("qw,qgw->qg", queries, groups)


dot = Dot()
