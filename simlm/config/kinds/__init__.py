"""The kinds of models a graph may hold. A new kind: its file here, and its class in this union."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from simlm.config.kinds.base import ModelBlock, Training
from simlm.config.kinds.biencoder import BiEncoder
from simlm.config.kinds.bottleneck import Bottleneck, Probe
from simlm.config.kinds.crossencoder import CrossEncoder
from simlm.config.kinds.fusion import Fusion
from simlm.config.kinds.given import GivenBiEncoder, GivenCrossEncoder, GivenModel
from simlm.config.kinds.mlm import MaskedLanguageModel, Size

KINDS: tuple[type[ModelBlock], ...] = (MaskedLanguageModel, Bottleneck, BiEncoder, CrossEncoder, Fusion, GivenBiEncoder, GivenCrossEncoder)
Model = Annotated[MaskedLanguageModel | Bottleneck | BiEncoder | CrossEncoder | Fusion | GivenBiEncoder | GivenCrossEncoder, Field(discriminator="kind")]

__all__ = [
    "KINDS",
    "BiEncoder",
    "Bottleneck",
    "CrossEncoder",
    "Fusion",
    "GivenBiEncoder",
    "GivenCrossEncoder",
    "GivenModel",
    "MaskedLanguageModel",
    "Model",
    "ModelBlock",
    "Probe",
    "Size",
    "Training",
]
