"""Predicting a text's bag of words from its [CLS] (Ma et al., SIGIR 2024): a bottleneck without a decoder."""

from __future__ import annotations

import math

import torch
from torch import nn

from simlm.models.heads.language import head_states, output_layer


def bag_of_words_loss(model: nn.Module, cls: torch.Tensor, tokens: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """Cross-entropy between the head's softmax at [CLS] and the uniform distribution over a text's distinct words, mean over texts.

    Parameters
    ----------
    model
        Masked language model whose head reads the state.
    cls
        States, shape (passages, width).
    tokens, content
        The uncorrupted tokens and whether each is one of the text's own (neither special nor padding), shape (passages, length);
        a passage without any does not count.

    """
    weight, bias = output_layer(model)
    logits = nn.functional.linear(head_states(model, cls), weight, bias)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    # Places that are no words are put on a column of their own, which is then cut off.
    words = torch.where(content, tokens, logits.shape[1])
    bag = torch.zeros(len(logits), logits.shape[1] + 1, dtype=logits.dtype, device=logits.device).scatter_(1, words, 1.0)[:, :-1]
    size = bag.sum(1)
    counts = (size > 0).to(logits.dtype)
    each = logits.logsumexp(1) - (bag * logits).sum(1) / size.clamp(min=1)
    return (each * counts).sum() / counts.sum().clamp(min=1)


def cosine_weight(first: float, last: float, progress: float) -> float:
    """Weight of the loss after the share ``progress`` of a training.

    >>> [round(cosine_weight(1.0, 0.1, progress), 3) for progress in (0.0, 0.5, 1.0)]
    [1.0, 0.55, 0.1]
    """
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2
