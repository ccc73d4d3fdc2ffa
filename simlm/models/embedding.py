"""Many texts through an encoder, in batches of similar length: the loop of embedding, of held-out queries and of the probe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from simlm import metering
from simlm.models.batches import cut_by_length
from simlm.models.text import Tokens, pad

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

    from simlm.scoring.maxsim import TokenVectors


def embed_tokens(
    forward: Callable[[dict[str, torch.Tensor]], torch.Tensor],
    tokens: Tokens,
    tokenizer: PreTrainedTokenizerFast,
    *,
    device: torch.device,
    batch_size: int,
    multiple: int = 1,
) -> np.ndarray:
    """Vectors of texts, in their order; fp32, shape (texts, width). The caller chooses gradients, mode and autocast.

    Parameters
    ----------
    forward
        Vectors (texts, width) of a padded batch on ``device``.
    batch_size
        Texts per forward pass; a text's neighbours in its batch decide how far it is padded, and so the last bits.
    multiple
        Padded lengths are multiples of this.
    """
    vectors = np.empty((0, 0), np.float32)
    for chosen, batch in _batches(tokens, tokenizer, device, batch_size, multiple):
        with metering.computing(int(tokens.lengths[chosen].sum()), batch["input_ids"].numel()) as piece:
            own = forward(batch).float()
            piece.all_told()
            found = own.cpu().numpy()
        if not len(vectors):
            vectors = np.empty((len(tokens), found.shape[1]), np.float32)
        vectors[chosen] = found
    return vectors


def embed_token_vectors(
    forward: Callable[[dict[str, torch.Tensor]], TokenVectors],
    tokens: Tokens,
    tokenizer: PreTrainedTokenizerFast,
    *,
    device: torch.device,
    batch_size: int,
    multiple: int = 1,
) -> list[np.ndarray]:
    """The same for a model with vectors per token: those that count of each text, fp32, shape (tokens, width) each."""
    vectors = [np.empty((0, 0), np.float32)] * len(tokens)
    for chosen, batch in _batches(tokens, tokenizer, device, batch_size, multiple):
        with metering.computing(int(tokens.lengths[chosen].sum()), batch["input_ids"].numel()) as piece:
            found = forward(batch)
            piece.all_told()
            counted = found.values[found.mask].float().cpu().numpy()
        for text, own in zip(chosen.tolist(), np.split(counted, np.cumsum(found.mask.sum(1).cpu().numpy())[:-1])):
            vectors[text] = own
    return vectors


def _batches(
    tokens: Tokens, tokenizer: PreTrainedTokenizerFast, device: torch.device, batch_size: int, multiple: int
) -> Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]:
    for chosen in cut_by_length(tokens.lengths, most_texts=batch_size):
        batch = pad(tokens.take(chosen), tokenizer, multiple=multiple)
        yield chosen, {name: values.to(device, non_blocking=True) for name, values in batch.items()}
