"""Detecting replacements: ELECTRA's discriminator (Clark et al., ICLR 2020), the RTD row of SimLM's ablation."""

from __future__ import annotations

import torch
from torch import nn

from simlm.models.linear_cross_entropy import IGNORED


class DetectionHead(nn.Module):
    """One logit per token: whether it is another than the text's own. The paper does not describe its head; this is ELECTRA's."""

    def __init__(self, width: int, initializer_range: float = 0.02) -> None:
        super().__init__()
        self.dense, self.output = nn.Linear(width, width), nn.Linear(width, 1)
        initialise(self, initializer_range)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Logits (tokens,) of ``states`` (tokens, width)."""
        return self.output(nn.functional.gelu(self.dense(states)))[:, 0]

    def loss(self, hidden: torch.Tensor, read: torch.Tensor, places: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean binary cross-entropy at ``places``; a sample that equals the original counts as the original.

        Parameters
        ----------
        hidden
            States, shape (passages, length, width).
        read
            The tokens that were read, shape (passages, length).
        places, labels
            Flat positions and the text's own tokens there; rows labelled ``IGNORED`` do not count.
        """
        logits = self(hidden.reshape(-1, hidden.shape[-1])[places])
        wrong = (read.reshape(-1)[places] != labels).to(logits.dtype)
        counts = (labels != IGNORED).to(logits.dtype)
        each = nn.functional.binary_cross_entropy_with_logits(logits, wrong, reduction="none")
        return (each * counts).sum() / counts.sum().clamp(min=1)


def initialise(module: nn.Module, initializer_range: float) -> None:
    """Give linear layers and norms BERT's fresh weights: N(0, ``initializer_range``²), biases 0, scales 1."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=initializer_range)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
        if isinstance(part, nn.Linear | nn.LayerNorm) and part.bias is not None:  # ModernBERT's have none
            nn.init.zeros_(part.bias)
