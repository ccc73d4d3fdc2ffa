"""Compute an encoder's last layer for the first token alone: [CLS] is all that retrieval reads.

Of the last layer's attention only one row is needed, and with one row neither keys nor values have to exist: a score
``q · (K x)`` is ``(q K) · x``, and a mean of values ``V x`` is ``V`` of the mean of ``x``. So a token costs
2 × heads × width products in the last layer instead of the 2 × width² of its key and value; what is computed is the same.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

from simlm.models.packing import NAME as PACKED
from simlm.models.packing import Row

ARCHITECTURES = ("bert", "electra")
"""``config.model_type`` of the encoders whose layers are built as this module expects."""


def only_first_token(model: nn.Module) -> bool:
    """Make the last layer of ``model`` (an encoder, or a classifier over one) return position 0 only.

    ``last_hidden_state`` then has shape (texts, 1, width); weights and their names stay as they are. Other
    architectures than BERT and ELECTRA are left alone.

    Returns
    -------
    bool
        Whether it applied.
    """
    body = model.base_model
    if body.config.model_type not in ARCHITECTURES or body.config._attn_implementation not in ("eager", "sdpa", PACKED) or body.config.is_decoder:
        return False
    layer = body.encoder.layer[-1]
    layer.forward = functools.partial(_first_token_forward, layer)
    return True


def _first_token_forward(
    layer: nn.Module, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *ignored: Any, packed: Row | None = None, **options: Any
) -> torch.Tensor:
    if packed is not None:
        hidden_states, attention_mask = packed.padded(hidden_states), packed.mask[:, None, None]
    first = hidden_states[:, :1]
    mixed = _attend(layer.attention.self, first[:, 0], hidden_states, attention_mask, layer.training)
    return layer.feed_forward_chunk(layer.attention.output(mixed[:, None], first))


def _attend(attention: nn.Module, first: torch.Tensor, states: torch.Tensor, mask: torch.Tensor | None, training: bool) -> torch.Tensor:
    """What ``first`` (texts, width) takes from ``states`` (texts, length, width), shape (texts, width)."""
    query = _heads(attention, attention.query(first))
    key, value = (_weight(attention, part) for part in (attention.key, attention.value))
    # (heads, texts, width): the query in the space of the states, so that no key is ever computed.
    asked = torch.matmul(query, key).transpose(0, 1)
    scores = torch.matmul(asked, states.transpose(1, 2))
    scores = (scores + (query @ attention.key.bias.view(len(query), -1, 1)).transpose(0, 1)) * attention.scaling
    if mask is not None:
        mask = mask[:, 0, :1]
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min) if mask.dtype == torch.bool else scores + mask
    shares = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(states.dtype)
    shares = nn.functional.dropout(shares, attention.dropout.p, training)
    taken = torch.matmul(torch.matmul(shares, states).transpose(0, 1), value.transpose(1, 2)).transpose(0, 1)
    bias = shares.sum(-1, keepdim=True) * attention.value.bias.view(len(query), -1)
    return (taken + bias).flatten(1)


def _heads(attention: nn.Module, states: torch.Tensor) -> torch.Tensor:
    """(texts, width) as (heads, texts, width of a head)."""
    return states.view(len(states), -1, attention.attention_head_size).transpose(0, 1)


def _weight(attention: nn.Module, projection: nn.Linear) -> torch.Tensor:
    """A projection's weight as (heads, width of a head, width of a state)."""
    return projection.weight.view(-1, attention.attention_head_size, projection.in_features)
