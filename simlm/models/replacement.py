"""Replacing tokens by samples of a generator, a masked language model (paper section 3.1; ELECTRA's generator)."""

from __future__ import annotations

import torch
from torch import nn

from simlm.models.heads.language import filled_up, head_states, output_layer
from simlm.models.linear_cross_entropy import IGNORED, linear_cross_entropy, rows_at_once


def replace_tokens(
    generator: nn.Module,
    tokens: torch.Tensor,
    token_types: torch.Tensor | None,
    attention_mask: torch.Tensor,
    masked: torch.Tensor,
    draws: torch.Tensor,
    mask_id: int,
    learned: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fill the masked positions of several corruptions of one batch, in one pass of the generator.

    Parameters
    ----------
    tokens, token_types, attention_mask
        The passages, shape (passages, length); token types are None where the generator reads none.
    masked, draws
        Where, and uniform numbers to sample with, shape (corruptions, passages, length).
    learned
        Corruptions, the first ones, whose tokens the generator learns to restore; with 0 there is neither loss nor gradient.

    Returns
    -------
    tuple
        The passages with replacements, shape (corruptions, passages, length), and the generator's mean cross-entropy at the masked
        positions of the learned corruptions (0 if there are none).
    """
    sides = len(masked)
    inputs = torch.where(masked, mask_id, tokens).reshape(-1, tokens.shape[1])
    originals = tokens.repeat(sides, 1).reshape(-1)
    wanted = masked.reshape(-1).nonzero()[:, 0]
    places, labels = filled_up(wanted, originals)
    labels = labels.masked_fill(places >= learned * tokens.numel(), IGNORED)
    with torch.set_grad_enabled(learned > 0 and torch.is_grad_enabled()):
        types = {} if token_types is None else {"token_type_ids": token_types.repeat(sides, 1)}
        states = generator.base_model(input_ids=inputs, attention_mask=attention_mask.repeat(sides, 1), **types).last_hidden_state
        states = head_states(generator, states.reshape(-1, states.shape[-1])[places])
        weight, bias = output_layer(generator)
        loss = linear_cross_entropy(states, weight, bias, labels) if learned else torch.zeros(())
    samples = _sample(states.detach(), weight.detach(), bias.detach(), draws.reshape(-1)[places])
    originals[wanted] = samples[: len(wanted)]
    return originals.view(sides, *tokens.shape), loss


@torch.no_grad()
def _sample(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Sample in chunks, so that the logits of all masked positions never exist at once; nothing where nothing is masked."""
    rows = rows_at_once(states.device, len(weight))
    samples = torch.empty(len(states), dtype=torch.int64, device=states.device)
    for i in range(0, len(states), rows):
        samples[i : i + rows] = sample_from_logits(nn.functional.linear(states[i : i + rows], weight, bias), draws[i : i + rows])
    return samples


def sample_from_logits(logits: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Sample one token per row from the full softmax at temperature 1, by inverse CDF.

    The cumulative sum runs over blocks first and then inside the chosen block, which is far cheaper than one over
    the vocabulary.

    Parameters
    ----------
    logits
        Shape (rows, vocabulary).
    draws
        Uniform numbers in [0, 1), shape (rows,).

    >>> sample_from_logits(torch.tensor([[0.0, 0.0, 50.0]]), torch.tensor([0.3]))
    tensor([2])
    """
    rows, vocabulary = logits.shape
    block = 64
    logits = logits.float()
    weights = (logits - logits.amax(1, keepdim=True)).exp_()
    short = -vocabulary % block
    if short:
        weights = nn.functional.pad(weights, (0, short))
    weights = weights.view(rows, -1, block)
    cumulated = weights.sum(2).cumsum(1)
    target = draws.to(cumulated.dtype) * cumulated[:, -1]
    chosen = (cumulated <= target[:, None]).sum(1).clamp_(max=weights.shape[1] - 1)
    before = torch.where(chosen > 0, cumulated.gather(1, (chosen - 1).clamp(min=0)[:, None])[:, 0], 0.0)
    inside = weights[torch.arange(rows, device=logits.device), chosen].cumsum(1)
    place = (inside <= (target - before)[:, None]).sum(1)
    # Rounding may push the target past the last word with any weight: step back to it.
    last = (inside < inside[:, -1:]).sum(1)
    return (chosen * block + torch.minimum(place, last)).clamp_(max=vocabulary - 1)
