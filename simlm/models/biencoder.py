"""Bi-encoder: one encoder for queries and passages; an embedding is the L2-normalised last state of [CLS] (paper, section 3.2)."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from simlm.models.batches import Pieces
from simlm.models.first_token import only_first_token


class BiEncoderModel(nn.Module):
    """Embeds padded batches.

    Parameters
    ----------
    encoder
        A bare transformers encoder; its last layer is computed for [CLS] alone where the architecture allows it.
    recompute
        Keep no activations of a batch but compute them again in the backward pass: memory of one batch instead of
        all, for a third more time.
    """

    def __init__(self, encoder: nn.Module, recompute: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.recompute = recompute
        only_first_token(encoder)

    def embed(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Embeddings of one padded batch: fp32, unit length, shape (texts, width)."""
        state = self.encoder(**batch).last_hidden_state[:, 0]
        with torch.autocast(state.device.type, enabled=False):
            return nn.functional.normalize(state.float(), dim=-1)

    def forward(self, pieces: Pieces) -> torch.Tensor:
        """Embeddings of the texts of several padded batches, in the texts' order."""
        if self.recompute and torch.is_grad_enabled():
            parts = [checkpoint(self.embed, batch, use_reentrant=False) for batch in pieces["batches"]]
        else:
            parts = [self.embed(batch) for batch in pieces["batches"]]
        return torch.cat(parts)[pieces["places"]]
