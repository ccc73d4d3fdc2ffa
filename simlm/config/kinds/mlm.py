"""``mlm``: masked language modelling, for a small base or generator from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from simlm.config.base import Block
from simlm.config.kinds.base import Card, Training
from simlm.config.kinds.roles import Pretrained


class Size(Block):
    """Shape of a BERT encoder made from scratch."""

    layers: int = Field(3, ge=1, description="Transformer layers.")
    hidden: int = Field(128, ge=8, description="Width of the hidden states.")
    heads: int = Field(2, ge=1, description="Attention heads; `hidden` is a multiple of it.")
    intermediate: int = Field(512, ge=8, description="Width of the feed-forward layer.")
    positions: int = Field(192, ge=8, description="Longest input in tokens.")

    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout of hidden states and attention; 0 suits short trainings from scratch.")

    @model_validator(mode="after")
    def _heads(self) -> Size:
        if self.hidden % self.heads:
            raise ValueError("hidden must be a multiple of heads")
        return self


class MaskedLanguageModel(Training, Pretrained):
    """A BERT trained on the corpus by whole-word masked language modelling."""

    kind: Literal["mlm"]
    trainer: ClassVar[str] = "simlm.training.mlm:train"
    noun: ClassVar[str] = "masked LM"
    generates: ClassVar[bool] = True

    size: Size | None = Field(None, description="Shape of a model from scratch; give this or `init`.")
    mask_probability: float = Field(0.15, gt=0, lt=1, description="Share of the tokens that are masked, whole words at a time.")
    max_length: int = Field(144, ge=8, description="Longest (title, passage) in tokens.")

    @model_validator(mode="after")
    def _start(self) -> MaskedLanguageModel:
        if (self.size is None) == (self.init is None):
            raise ValueError("give exactly one of 'size' (from scratch) and 'init'")
        return self

    @property
    def labelled(self) -> float:
        return self.mask_probability

    def accepts(self) -> dict[str, tuple[str, ...]]:
        return {"init": ("pretrained",)}

    def card(self, said: Mapping[str, Any]) -> Card:
        return super().card(said)._replace(sentence="A masked language model, the start or the generator of a pre-training.", method="")
