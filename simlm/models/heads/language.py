"""Restoring tokens: the language-model head at the positions that are asked for."""

from __future__ import annotations

import torch
from torch import nn

from simlm.errors import UserError
from simlm.models.linear_cross_entropy import IGNORED, linear_cross_entropy


def language_loss(model: nn.Module, hidden: torch.Tensor, places: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of a masked language model's head.

    Parameters
    ----------
    hidden
        States, shape (passages, length, width).
    places, labels
        Flat positions of passages × length and their tokens; those of :data:`~simlm.models.linear_cross_entropy.IGNORED` do not count.
    """
    states = head_states(model, hidden.reshape(-1, hidden.shape[-1])[places])
    return linear_cross_entropy(states, *output_layer(model), labels)


def filled_up(places: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions and their labels, filled up with ignored ones to a multiple of 512.

    On a CPU every new shape of a matrix product costs time and memory that is never given back, so that a number
    of positions that changes from step to step made training twice as slow and let it grow by gigabytes.

    Parameters
    ----------
    places
        Flat positions, shape (n,).
    tokens
        The flat tokens that the labels are taken from.

    >>> places, labels = filled_up(torch.tensor([3, 1]), torch.tensor([5, 6, 7, 8]))
    >>> len(places), labels[:3].tolist()
    (512, [8, 6, -100])
    """
    short = -len(places) % 512
    labels = nn.functional.pad(tokens[places], (0, short), value=IGNORED)
    return nn.functional.pad(places, (0, short), value=0), labels


def head_states(model: nn.Module, states: torch.Tensor) -> torch.Tensor:
    """What the output layer of a masked language model sees of ``states``: its head without that layer.

    Raises
    ------
    UserError
        If the architecture has a head of another form.
    """
    if hasattr(model, "generator_predictions"):  # ELECTRA
        return model.generator_predictions(states)
    if hasattr(model, "vocab_transform"):  # DistilBERT
        return model.vocab_layer_norm(model.activation(model.vocab_transform(states)))
    if hasattr(model, "lm_head"):  # RoBERTa and its kin, MPNet
        return model.lm_head.layer_norm(nn.functional.gelu(model.lm_head.dense(states)))
    if hasattr(model, "predictions"):  # ALBERT
        return model.predictions.LayerNorm(model.predictions.activation(model.predictions.dense(states)))
    if hasattr(model, "head"):  # ModernBERT
        return model.head(states)
    if hasattr(model, "cls"):  # BERT, NomicBERT, DeBERTa as it was published first
        return model.cls.predictions.transform(states)
    raise UserError(f"a {model.config.model_type} has a head for masked words of a form that is not known here; choose another base, such as BERT or RoBERTa")


def output_layer(model: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (vocabulary, width) and bias (vocabulary,) of a masked language model's output layer."""
    layer = model.get_output_embeddings()
    return layer.weight, layer.bias if layer.bias is not None else layer.weight.new_zeros(len(layer.weight))
