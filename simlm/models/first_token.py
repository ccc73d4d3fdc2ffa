"""Compute an encoder's last layer for the first token alone: [CLS] is all that retrieval reads.

Of the last layer only keys and values are needed at every position; queries, attention rows and the feed-forward
layer are needed at position 0. That saves most of one layer, a quarter of the work of a three-layer encoder.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch
from torch import nn

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
    if body.config.model_type not in ARCHITECTURES or body.config._attn_implementation not in ("eager", "sdpa") or body.config.is_decoder:
        return False
    layer = body.encoder.layer[-1]
    layer.forward = functools.partial(_first_token_forward, layer)
    return True


def _first_token_forward(
    layer: nn.Module, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *ignored: Any, **options: Any
) -> torch.Tensor:
    attention = layer.attention.self
    first = hidden_states[:, :1]
    query, key, value = (_heads(attention, part) for part in (attention.query(first), attention.key(hidden_states), attention.value(hidden_states)))
    mask = None if attention_mask is None else attention_mask[..., :1, :]
    dropout = attention.dropout.p if layer.training else 0.0
    mixed, _ = _attention_function(layer)(attention, query, key, value, mask, dropout=dropout, scaling=attention.scaling)
    mixed = mixed.reshape(*first.shape[:-1], -1).contiguous()
    return layer.feed_forward_chunk(layer.attention.output(mixed, first))


def _heads(attention: nn.Module, states: torch.Tensor) -> torch.Tensor:
    return states.view(*states.shape[:-1], -1, attention.attention_head_size).transpose(1, 2)


def _attention_function(layer: nn.Module) -> Any:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    eager = sys.modules[type(layer).__module__].eager_attention_forward
    return ALL_ATTENTION_FUNCTIONS.get_interface(layer.attention.self.config._attn_implementation, eager)
