"""Shallow decoders that see a text through the encoder's [CLS]: SimLM's, Condenser's head and RetroMAE's.

All are a few layers of the encoder's architecture; they differ in what stands beside [CLS] and in who may look where:

- ``shallow`` (SimLM, paper section 3.1): embeddings of the decoder's own corrupted text.
- ``condenser`` (Gao and Callan, EMNLP 2021): states of an early layer of the encoder.
- ``retromae`` (Xiao et al., EMNLP 2022): queries that hold [CLS] and their position alone, over the whole text, of which each
  position is refused itself and a sample of its own.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from simlm.config.architectures import POSITIONS_FROM_PADDING
from simlm.errors import UserError
from simlm.models.heads.detection import initialise


def decoder_layers(model: nn.Module, number: int, init: str) -> nn.ModuleList:
    """Layers of a decoder: copies of the encoder's last ones (``init`` "copied"), or fresh ones of their shape ("fresh").

    Raises
    ------
    ValueError
        If the encoder has fewer layers than are to be copied.
    """
    layers = layers_of(model.base_model)
    if init == "copied":
        if number > len(layers):
            raise ValueError(f"a decoder of {number} layers cannot be copied from an encoder of {len(layers)}")
        return copy.deepcopy(layers[-number:])
    fresh = nn.ModuleList(copy.deepcopy(layers[-1]) for _ in range(number))
    initialise(fresh, model.config.initializer_range)
    return fresh


def layers_of(body: nn.Module) -> nn.ModuleList:
    """The layers of an encoder."""
    holder, name = _holder(body)
    return getattr(holder, name)


def _holder(body: nn.Module) -> tuple[nn.Module, str]:
    """The module that holds an encoder's layers, and their name in it."""
    for path, name in (("encoder", "layer"), ("transformer", "layer"), ("", "layers")):
        holder = getattr(body, path, None) if path else body
        if hasattr(holder, name):
            return holder, name
    raise UserError(f"a {body.config.model_type} has no layers of which a decoder could be made here; set decoder: none, or choose another base")


def text_states(body: nn.Module, tokens: torch.Tensor, token_types: torch.Tensor | None) -> torch.Tensor:
    """What the first layer reads of a text: its embeddings, in the width of the layers; shape (passages, length, width)."""
    embedded = body.embeddings(input_ids=tokens, **({} if token_types is None else {"token_type_ids": token_types}))
    return body.embeddings_project(embedded) if hasattr(body, "embeddings_project") else embedded


def position_states(body: nn.Module, length: int) -> torch.Tensor:
    """The embeddings of the first positions, shape (length, width); RoBERTa's kin count from behind the padding id."""
    first = body.config.pad_token_id + 1 if body.config.model_type in POSITIONS_FROM_PADDING else 0
    embedded = body.embeddings.position_embeddings(torch.arange(first, first + length, device=body.embeddings.position_embeddings.weight.device))
    return body.embeddings_project(embedded) if hasattr(body, "embeddings_project") else embedded


def read_forward(body: nn.Module, layers: nn.ModuleList, state: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """``state`` (passages, length, width) after the layers, every position looking at all that ``attention_mask`` allows.

    The encoder's own ``forward`` runs them in the place of its layers and behind no embeddings, so that masks, relative positions and a
    norm at the end are those of its architecture.
    """
    reader = _shallow(body, embeddings=_GivenStates(), embeddings_project=None)
    holder, name = _holder(reader)
    if holder is reader:
        setattr(reader, name, layers)
    else:
        path = "encoder" if holder is getattr(reader, "encoder", None) else "transformer"
        setattr(reader, path, _shallow(holder, **{name: layers}))
    return reader(inputs_embeds=state, attention_mask=attention_mask).last_hidden_state


class _GivenStates(nn.Module):
    """In the place of embeddings: the states that are given."""

    def forward(self, input_ids: None = None, inputs_embeds: torch.Tensor | None = None, *rest: None, **others: object) -> torch.Tensor:
        return inputs_embeds


def _shallow(module: nn.Module, **parts: nn.Module | None) -> nn.Module:
    """A module that shares all of another's parts but those given; None leaves a part out."""
    copied = copy.copy(module)
    copied._modules = {name: part for name, part in module._modules.items() if parts.get(name, part) is not None}
    copied._modules |= {name: part for name, part in parts.items() if part is not None}
    return copied


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
