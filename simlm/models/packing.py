"""Encoders that read a padded batch as one row of its tokens: whatever works on single tokens never sees padding.

:func:`use_packing` changes an encoder in place. It is called as before, with padded texts, and gives padded states; in between, embeddings and
layers read one row of T tokens, text after text. Only attention has to know where a text ends: transformers' ``AttentionInterface`` hands it to
:func:`attend`, which lays the row's queries, keys and values out in grids of padded texts, so that no token ever meets one of another text.

The row is filled up with texts that nobody reads to a multiple of :data:`MULTIPLE`, and on an accelerator there is one grid as wide as the batch,
so that shapes are few. On a processor texts of similar length share a grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AttentionInterface

from simlm import metering
from simlm.config.architectures import POSITIONS_FROM_PADDING, why_not_packed
from simlm.hardware import attention_implementation
from simlm.models.batches import FEWEST, cut_by_length, rounded_up

NAME = "simlm_packed"
"""What transformers calls :func:`attend`."""

MULTIPLE = {"cpu": 64}
MULTIPLE_ELSEWHERE = 1024
"""The tokens of a row are a multiple of this."""


@dataclass(frozen=True)
class Grid:
    """Padded texts of similar length, which follow each other in the row.

    Attributes
    ----------
    tokens
        Their number of tokens in the row.
    places
        For each place of the grid its token, counted from the grid's first one; at padding one of the text's own. int64, shape (texts × length,).
    back
        For each token its place in the grid; int64, shape (tokens,).
    mask
        bool, shape (texts, length); true at tokens, and at the first place of a text without tokens.
    """

    tokens: int
    places: torch.Tensor
    back: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True)
class Row:
    """The tokens of a padded batch, one text after the other.

    Attributes
    ----------
    places
        For each place of the batch its token in the row; at padding one of the text's own. int64, shape (texts × length,).
    back
        For each token of the row its place in the batch, 0 for those that fill it up; int64, shape (T,).
    counted
        bool, shape (T, 1): false at the tokens that fill the row up.
    mask
        bool, shape (texts, length): true at tokens.
    positions
        Place of each token in its text, from 0; int64, shape (1, T).
    grids
        How attention lays the row out.
    """

    places: torch.Tensor
    back: torch.Tensor
    counted: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    grids: tuple[Grid, ...]

    @classmethod
    def of(cls, attention_mask: torch.Tensor) -> Row:
        """The row of a batch whose padding comes last; ``attention_mask`` has the shape (texts, length).

        >>> row = Row.of(torch.tensor([[1, 0, 0], [1, 1, 1]]))
        >>> row.positions.shape, row.positions[0, :5].tolist(), row.places.tolist()
        (torch.Size([1, 64]), [0, 0, 1, 2, 0], [0, 0, 0, 1, 2, 3])
        """
        device = attention_mask.device
        lengths = attention_mask.sum(1).cpu().numpy()
        texts, width = attention_mask.shape
        multiple = MULTIPLE.get(device.type, MULTIPLE_ELSEWHERE)
        short = -int(lengths.sum()) % multiple or (0 if lengths.any() else multiple)
        fillers = np.clip(short - width * np.arange(-(-multiple // width)), 0, width)
        cut = cut_by_length(lengths, fewest=FEWEST) if device.type == "cpu" else [np.arange(texts)]
        cut[-1] = np.concatenate([cut[-1], texts + np.arange(len(fillers))])
        order, lengths = np.concatenate(cut), np.concatenate([lengths, fillers])
        starts = np.empty(len(order), np.int64)
        starts[order] = np.cumsum(lengths[order]) - lengths[order]
        column = np.arange(width)
        ordered, positions = np.nonzero(column < lengths[order][:, None])
        text = order[ordered]
        places = np.minimum(starts[:, None] + np.where(column < lengths[:, None], column, 0), len(text) - 1)
        grids, first = [], 0
        for piece in cut:
            tokens = int(lengths[piece].sum())
            if not tokens:
                continue
            long = width if device.type != "cpu" else min(width, int(rounded_up(lengths[piece]).max()))
            mask = column[:long] < lengths[piece][:, None]
            laid = np.clip(places[piece, :long] - first, 0, tokens - 1)
            grids.append(Grid(tokens, *_on(device, laid.reshape(-1), np.flatnonzero(mask), mask | (column[:long] == 0))))
            first += tokens
        real = text < texts
        back = np.where(real, text * width + positions, 0)
        metering.read(int(lengths[:texts].sum()), len(text))
        parts = _on(device, places[:texts].reshape(-1), back, real[:, None], column < lengths[:texts, None], positions[None])
        return cls(*parts, tuple(grids))

    def packed(self, values: torch.Tensor) -> torch.Tensor:
        """What stands at the tokens of a padded batch, shape (1, T, …), of values (texts, length, …)."""
        flat = values.flatten(0, 1)
        if not values.requires_grad:
            return flat.index_select(0, self.back)[None]
        return _Moved.apply(flat, self.back, self.places, self.mask.reshape(-1, 1))[None]

    def padded(self, states: torch.Tensor) -> torch.Tensor:
        """States of a padded batch, shape (texts, length, width), of those of the row, (1, T, width); at padding a text's own first one."""
        return _Moved.apply(states[0], self.places, self.back, self.counted).view(*self.mask.shape, -1)


def _on(device: torch.device, *arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True) for array in arrays]


class _Moved(torch.autograd.Function):
    """``values[there]``, whose gradient is ``gradient[back]`` where ``kept``: every value stands in one place that is read, or in none."""

    @staticmethod
    def forward(context: Any, values: torch.Tensor, there: torch.Tensor, back: torch.Tensor, kept: torch.Tensor | None) -> torch.Tensor:
        context.save_for_backward(back, kept)
        return values.index_select(0, there)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        back, kept = context.saved_tensors
        moved = gradient.index_select(0, back)
        return (moved if kept is None else moved * kept), None, None, None


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    packed: Row | None = None,
    **ignored: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of every token to its own text, for transformers' ``AttentionInterface``.

    Parameters
    ----------
    query, key, value
        Shape (1, heads, T, width of a head).
    sliding_window
        Tokens at this distance or farther do not see each other (ModernBERT's local layers).
    packed
        The row that they stand in.

    Returns
    -------
    torch.Tensor, None
        Shape (1, T, heads, width of a head).
    """
    if packed is None:
        raise RuntimeError(f"{type(module).__name__} was not told which row it reads; call its encoder as a whole")
    sizes = [grid.tokens for grid in packed.grids]
    found = []
    for grid, *parts in zip(packed.grids, *(states[0].transpose(0, 1).split(sizes) for states in (query, key, value))):
        texts, length = grid.mask.shape
        laid = [_Moved.apply(part, grid.places, grid.back, None).view(texts, length, *part.shape[1:]).transpose(1, 2) for part in parts]
        visible = grid.mask[:, None, None]
        if sliding_window is not None:
            place = torch.arange(length, device=query.device)
            visible = visible & ((place - place[:, None]).abs() < sliding_window)
        mixed = _attention()(module, *laid, _as_bias(visible, query.dtype), dropout=dropout, scaling=scaling, is_causal=False)[0]
        found.append(_Moved.apply(mixed.flatten(0, 1), grid.back, grid.places, grid.mask.reshape(-1, 1, 1)))
    return torch.cat(found)[None], None


def _attention() -> Any:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.models.bert.modeling_bert import eager_attention_forward

    return sdpa_attention_forward if attention_implementation() == "sdpa" else eager_attention_forward


def _as_bias(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, torch.finfo(dtype).min)


AttentionInterface.register(NAME, attend)


def use_packing(model: nn.Module) -> str | None:
    """Make an encoder, or that of a model with a head, read its padded batches as rows; what goes in and what comes out stays as it is.

    Returns
    -------
    str or None
        Why the architecture cannot, which then goes on reading padding; None if it does.
    """
    body = model.base_model
    reason = why_not_packed(body.config.model_type) or ("in a causal model a token looks back only" if getattr(body.config, "is_decoder", False) else None)
    if reason is None and not is_packed(body):
        body.config._attn_implementation = NAME
        body.register_forward_pre_hook(_enter, with_kwargs=True)
        layers = getattr(body, "encoder", None) or getattr(body, "transformer", None) or body
        layers.register_forward_hook(_leave, with_kwargs=True)
        body.register_forward_hook(_leave_earlier, with_kwargs=True)
    return reason


def is_packed(model: nn.Module) -> bool:
    """Whether :func:`use_packing` has been there."""
    return model.base_model.config._attn_implementation == NAME


def _enter(body: nn.Module, positional: tuple[torch.Tensor, ...], given: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
    """Padded ids or states become a row's, with positions of their own."""
    for part in body.modules():
        # A decoder's layers are copies of the encoder's, with copies of its configuration; with another attention all texts would mix.
        if getattr(part, "config", None) is not None:
            part.config._attn_implementation = NAME
    given = {**dict(zip(("input_ids", "attention_mask"), positional)), **given}
    row = Row.of(given.pop("attention_mask"))
    for name in ("input_ids", "token_type_ids", "inputs_embeds"):
        if given.get(name) is not None:
            given[name] = row.packed(given[name])
    config = body.config
    first = config.pad_token_id + 1 if config.model_type in POSITIONS_FROM_PADDING else 0
    return (), {**given, "attention_mask": None, "position_ids": row.positions + first, "packed": row}


def _leave(layers: nn.Module, positional: tuple[Any, ...], given: dict[str, Any], output: Any) -> Any:
    """The row's states become a padded batch's, unless the last layer has computed those of first tokens alone (:mod:`simlm.models.first_token`)."""
    output["last_hidden_state"] = states = _padded(given["packed"], output["last_hidden_state"])
    if getattr(layers, "pooler", None) is not None:  # NomicBERT's body holds both, and has pooled the row
        output["pooler_output"] = layers.pooler(states)
    return output


def _leave_earlier(body: nn.Module, positional: tuple[Any, ...], given: dict[str, Any], output: Any) -> Any:
    if output.get("hidden_states") is not None:
        output["hidden_states"] = tuple(_padded(given["packed"], states) for states in output["hidden_states"])
    return output


def _padded(row: Row, states: torch.Tensor) -> torch.Tensor:
    return row.padded(states) if states.shape[:2] == row.positions.shape else states
