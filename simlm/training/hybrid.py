"""Fine-tuning a hybrid retriever (DupMAE): a bi-encoder's training, with vectors of two parts."""

from __future__ import annotations

from simlm.context import Context
from simlm.models.hybrid import open_hybrid
from simlm.training.biencoder import train_retriever


def train(context: Context, name: str) -> None:
    """Train the hybrid retriever ``name`` and export it."""
    train_retriever(context, name, open_hybrid)
