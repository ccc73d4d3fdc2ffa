"""Bi-encoder: one encoder for queries and passages; SimLM's embedding is the L2-normalised last state of [CLS] (paper, section 3.2)."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from simlm.models.batches import in_pieces
from simlm.models.first_token import only_first_token
from simlm.models.packing import is_packed
from simlm.models.pooling import VectorHead


class BiEncoderModel(nn.Module):
    """Embeds padded batches.

    Parameters
    ----------
    encoder
        A bare transformers encoder; its last layer is computed for [CLS] alone where that is all that is read and the architecture allows it.
    most_texts
        Texts forwarded at once. With a limit no activations are kept but computed again in the backward pass: memory
        of one piece instead of the batch, for a third more time and the same gradient.
    head
        Makes vectors of the states; by default [CLS], normalised.
    """

    def __init__(self, encoder: nn.Module, most_texts: int | None = None, head: VectorHead | None = None) -> None:
        super().__init__()
        self.encoder, self.most_texts, self.head = encoder, most_texts, head or VectorHead()
        if self.head.first_token_only:
            only_first_token(encoder)

    @property
    def dimension(self) -> int:
        """Width of the vectors."""
        return self.head.dimension(self.encoder.config.hidden_size)

    def embed(self, piece: dict[str, torch.Tensor]) -> torch.Tensor:
        """Embeddings of a padded batch forwarded as it is: fp32, shape (texts, dimension)."""
        return self.head(self.encoder(**piece).last_hidden_state, piece["attention_mask"])

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Embeddings of a padded batch, forwarded in pieces of similar length, or as rows; in the batch's order."""
        pieces, places = in_pieces(batch, self.most_texts, by_length=not is_packed(self.encoder))
        if self.most_texts is not None and torch.is_grad_enabled():
            parts = [checkpoint(self.embed, piece, use_reentrant=False) for piece in pieces]
        else:
            parts = [self.embed(piece) for piece in pieces]
        return torch.cat(parts)[places]
