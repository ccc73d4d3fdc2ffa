"""Shallow decoders that see a text through the encoder's [CLS]: SimLM's, Condenser's head and RetroMAE's.

All are a few BERT layers; they differ in what stands beside [CLS] and in who may look where:

- ``shallow`` (SimLM, paper section 3.1): embeddings of the decoder's own corrupted text.
- ``condenser`` (Gao and Callan, EMNLP 2021): states of an early layer of the encoder.
- ``retromae`` (Xiao et al., EMNLP 2022): queries that hold [CLS] and their position alone, over the whole text, of which each
  position is refused itself and a sample of its own.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from simlm.models.heads.detection import initialise


def decoder_layers(model: nn.Module, number: int, init: str) -> nn.ModuleList:
    """Layers of a decoder: copies of the encoder's last ones (``init`` "copied"), or fresh ones of their shape ("fresh").

    Raises
    ------
    ValueError
        If the encoder has fewer layers than are to be copied.
    """
    layers = model.base_model.encoder.layer
    if init == "copied":
        if number > len(layers):
            raise ValueError(f"a decoder of {number} layers cannot be copied from an encoder of {len(layers)}")
        return copy.deepcopy(layers[-number:])
    fresh = nn.ModuleList(copy.deepcopy(layers[-1]) for _ in range(number))
    initialise(fresh, model.config.initializer_range)
    return fresh


def read_forward(layers: nn.ModuleList, state: torch.Tensor, attention_mask: torch.Tensor, implementation: str) -> torch.Tensor:
    """``state`` (passages, length, width) after the layers, every position looking at all that ``attention_mask`` allows."""
    allowed = attention_mask[:, None, None, :].to(torch.bool)
    if implementation != "sdpa":
        allowed = torch.zeros(allowed.shape, dtype=state.dtype, device=state.device).masked_fill(~allowed, torch.finfo(state.dtype).min)
    for layer in layers:
        state = layer(state, attention_mask=allowed)
        state = state[0] if isinstance(state, tuple) else state
    return state


def read_enhanced(layers: nn.ModuleList, queries: torch.Tensor, text: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """RetroMAE's enhanced decoding: ``queries`` look at ``text``; what is added to the attention's output is the query.

    Parameters
    ----------
    queries, text
        Shape (passages, length, width).
    visible
        bool, shape (passages, length, length): which places of the text each position may look at; at least one each.
    """
    for layer in layers:
        attention = layer.attention.self
        heads = (len(text), -1, attention.num_attention_heads, attention.attention_head_size)
        query, key, value = attention.query(queries), attention.key(text), attention.value(text)
        query, key, value = (states.view(heads).transpose(1, 2) for states in (query, key, value))
        scores = (query @ key.transpose(2, 3)) * attention.attention_head_size**-0.5
        scores = scores.masked_fill(~visible[:, None], torch.finfo(scores.dtype).min)
        shares = attention.dropout(scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(value.dtype))
        context = (shares @ value).transpose(1, 2).reshape(queries.shape)
        queries = layer.feed_forward_chunk(layer.attention.output(context, queries))
    return queries
