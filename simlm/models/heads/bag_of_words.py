"""Predicting a text's bag of words: from its [CLS] (Ma et al., SIGIR 2024), or from all its other tokens together (DupMAE, Xiao et al., ACL 2023)."""

from __future__ import annotations

import math

import torch
from torch import nn

from simlm.models.heads.language import head_states, output_layer


def word_logits(model: nn.Module, states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Logits over the vocabulary, each the largest of all tokens of a text but [CLS]; fp32 or fp64, shape (passages, vocabulary).

    Parameters
    ----------
    model
        Masked language model whose head reads the states.
    states, attention_mask
        Shape (passages, length, width), and 1 at tokens, shape (passages, length).
    """
    logits = nn.functional.linear(head_states(model, states[:, 1:]), *output_layer(model))
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits.masked_fill(attention_mask[:, 1:, None] == 0, torch.finfo(logits.dtype).min).amax(1)


def cls_logits(model: nn.Module, cls: torch.Tensor) -> torch.Tensor:
    """Logits over the vocabulary at [CLS]; fp32 or fp64, shape (passages, vocabulary), of states (passages, width)."""
    logits = nn.functional.linear(head_states(model, cls), *output_layer(model))
    return logits if logits.dtype == torch.float64 else logits.float()


def bag_of_words_loss(logits: torch.Tensor, tokens: torch.Tensor, content: torch.Tensor, share: str = "word") -> torch.Tensor:
    """Cross-entropy between a softmax over the vocabulary and a text's distinct words, mean over texts.

    Parameters
    ----------
    logits
        Shape (passages, vocabulary).
    tokens, content
        The uncorrupted tokens and whether each is one of the text's own (neither special nor padding), shape (passages, length);
        a passage without any does not count.
    share
        Weight of each distinct word: one over their number (``word``), or one over the number of tokens (``token``), which sums
        to less than 1 where words repeat.
    """
    # Places that are no words are put on a column of their own, which is then cut off.
    places = torch.where(content, tokens, logits.shape[1])
    bag = torch.zeros(len(logits), logits.shape[1] + 1, dtype=logits.dtype, device=logits.device).scatter_(1, places, 1.0)[:, :-1]
    words = bag.sum(1)
    size = words if share == "word" else content.sum(1).to(logits.dtype)
    counts = (size > 0).to(logits.dtype)
    each = words / size.clamp(min=1) * logits.logsumexp(1) - (bag * logits).sum(1) / size.clamp(min=1)
    return (each * counts).sum() / counts.sum().clamp(min=1)


def cosine_weight(first: float, last: float, progress: float) -> float:
    """Weight of the loss after the share ``progress`` of a training.

    >>> [round(cosine_weight(1.0, 0.1, progress), 3) for progress in (0.0, 0.5, 1.0)]
    [1.0, 0.55, 0.1]
    """
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2
