"""From the states of a text's tokens to its vector: pooling, what follows it, normalisation.

The modes and their names are those of sentence-transformers, so that what its folders say is what is computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def pooled(states: torch.Tensor, mask: torch.Tensor, modes: Sequence[str]) -> torch.Tensor:
    """Vectors of texts, those of several modes one behind the other.

    Parameters
    ----------
    states
        States of the tokens, shape (texts, length, width).
    mask
        1 at tokens and 0 at padding, which comes last; shape (texts, length).
    modes
        Names from :data:`simlm.models.reading.POOLINGS`: the first token's state (``cls``), the last one's, the largest value of each dimension, the
        sum of all states divided by their number or by its root, or their mean weighted by position (SGPT, Muennighoff 2022).

    Returns
    -------
    torch.Tensor
        fp32, shape (texts, modes × width); zeros for a text without tokens, which some tokenizers make of an empty one.

    >>> states, mask = torch.tensor([[[1.0], [4.0], [9.0]]]), torch.tensor([[1, 1, 0]])
    >>> [pooled(states, mask, [mode]).item() for mode in ("cls", "max", "mean", "weightedmean", "lasttoken")]
    [1.0, 4.0, 2.5, 3.0, 4.0]
    """
    parts = [_MODES[mode](states, mask).float() for mode in modes]
    vectors = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
    return torch.where(mask.any(1, keepdim=True), vectors, 0.0)


def _sum(states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (states.float() * weights[..., None]).sum(1)


def _count(weights: torch.Tensor) -> torch.Tensor:
    return weights.sum(1, keepdim=True).clamp(min=1)


def _mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return _sum(states, mask) / _count(mask)


def _root_mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return _sum(states, mask) / _count(mask).sqrt()


def _weighted_mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return _sum(states, weights) / _count(weights)


def _largest(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return states.masked_fill(mask[..., None] == 0, -torch.inf).amax(1)


def _last(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]


_MODES = {
    "cls": lambda states, mask: states[:, 0],
    "max": _largest,
    "mean": _mean,
    "mean_sqrt_len_tokens": _root_mean,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}


class Projection(nn.Module):
    """A layer between pooling and normalisation (sentence-transformers' ``Dense``).

    Parameters
    ----------
    activation
        Path of a class of ``torch.nn`` without arguments, such as ``torch.nn.modules.activation.Tanh``.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True, activation: str = "torch.nn.modules.linear.Identity") -> None:
        super().__init__()
        self.linear, self.path = nn.Linear(inputs, outputs, bias=bias), activation
        self.activation = getattr(nn, activation.rpartition(".")[2])()

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.activation(self.linear(vectors))


def first_of(width: int, kept: int) -> Projection:
    """The projection that keeps the first numbers of a vector (sentence-transformers' ``truncate_dim``).

    >>> first_of(3, 2)(torch.tensor([[5.0, 6.0, 7.0]])).tolist()
    [[5.0, 6.0]]
    """
    projection = Projection(width, kept, bias=False)
    with torch.no_grad():
        projection.linear.weight.copy_(torch.eye(kept, width))
    return projection


class LayerNorm(nn.Module):
    """sentence-transformers' module of that name."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.norm(vectors)


class UnitLength(nn.Module):
    """L2 normalisation before another module."""

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(vectors, dim=-1)


class VectorHead(nn.Module):
    """What makes a vector of the states of a text's tokens.

    Parameters
    ----------
    pooling
        Names from :data:`simlm.models.reading.POOLINGS`.
    between
        Modules behind the pooling, in their order: :class:`Projection`, :class:`LayerNorm`, :class:`UnitLength`.
    normalize
        Whether the vectors are L2-normalised in the end.
    """

    def __init__(self, pooling: Sequence[str] = ("cls",), between: Sequence[nn.Module] = (), normalize: bool = True) -> None:
        super().__init__()
        self.pooling, self.between, self.normalize = tuple(pooling), nn.ModuleList(between), normalize

    @property
    def first_token_only(self) -> bool:
        """Whether no other state than the first token's is read."""
        return self.pooling == ("cls",)

    def dimension(self, width: int) -> int:
        """Width of the vectors of an encoder of that width."""
        width *= len(self.pooling)
        for module in self.between:
            width = module.linear.out_features if isinstance(module, Projection) else width
        return width

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Vectors of texts: fp32, shape (texts, dimension), from states (texts, length, width) and mask (texts, length)."""
        with torch.autocast(states.device.type, enabled=False):
            vectors = pooled(states, mask, self.pooling)
            for module in self.between:
                vectors = module(vectors)
            return nn.functional.normalize(vectors, dim=-1) if self.normalize else vectors
