"""``bottleneck``: SimLM pre-training, replaced language modelling through a representation bottleneck."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from simlm.config.base import Block
from simlm.config.kinds.base import Card, Training
from simlm.config.kinds.roles import Pretrained


class Probe(Block):
    """A small retrieval task solved with the current [CLS] during pre-training, to see when to stop."""

    every_steps: int = Field(1000, ge=1, description="Steps between two probes.")
    split: str = Field("dev", description="Split whose queries are asked.")
    queries: int = Field(200, ge=1, description="Most queries asked.")
    passages: int = Field(2000, ge=10, description="Most passages searched: the relevant ones plus random others.")


class Bottleneck(Training, Pretrained):
    """SimLM (paper section 3.1): a deep encoder whose [CLS] feeds a shallow decoder, both restore replaced tokens."""

    kind: Literal["bottleneck"]
    trainer: ClassVar[str] = "simlm.training.bottleneck:train"
    noun: ClassVar[str] = "SimLM pre-training"
    shape: ClassVar[tuple[str, str]] = ("[[", "]]")
    outside: ClassVar[tuple[str, ...]] = ("init", "generator")

    init: str = Field(description="Base model: a model of the graph, a Hugging Face id or a local folder.")
    generator: str = Field(description="Masked language model that proposes replacements; same vocabulary as `init`.")
    encoder_mask: float = Field(0.3, gt=0, lt=1, description="Share of tokens replaced in the encoder's input.")
    decoder_mask: float = Field(0.5, gt=0, lt=1, description="Share of tokens replaced in the decoder's input; the encoder's are among them.")
    decoder_layers: int = Field(2, ge=1, description="Decoder depth: copies of the last layers of the initial encoder.")
    decoder_token_types: Literal["zero", "pair"] = Field("pair", description="Token types of the decoder's input; `zero` is what the authors' code does.")
    train_generator: bool = Field(False, description="Train the generator jointly instead of keeping it frozen.")
    generator_weight: float = Field(0.2, ge=0, description="Weight of the generator's loss when it is trained.")
    generator_dropout: bool = Field(False, description="Keep the frozen generator's dropout on, as the authors' trainer does.")
    label_fraction: float = Field(
        1.0, gt=0, le=1, description="Share of the labelled positions, drawn anew each step, on which the two losses are computed; 1 is the paper."
    )
    max_length: int = Field(144, ge=8, description="Longest (title, passage) in tokens.")
    holdout: int = Field(4096, ge=0, description="Passages kept for the evaluation of the losses (never more than a tenth of the corpus).")
    holdout_seed: int = Field(123, ge=0, description="Seed that chooses the held-out passages.")
    probe: Probe | None = Field(Probe(), description="Retrieval probe; null switches it off.")

    @model_validator(mode="after")
    def _masks(self) -> Bottleneck:
        if self.decoder_mask < self.encoder_mask:
            raise ValueError("decoder_mask must not be smaller than encoder_mask: the encoder's replaced tokens are among the decoder's")
        return self

    def reads_models(self) -> dict[str, str]:
        return {"generator": self.generator}

    def accepts(self) -> dict[str, tuple[str, ...]]:
        return {"init": ("pretrained",), "generator": ("generates",)}

    def reads_splits(self) -> dict[str, str]:
        return {"probe.split": self.probe.split} if self.probe else {}

    def card(self) -> Card:
        sentence = (
            "An encoder pre-trained through a representation bottleneck (SimLM). It does not retrieve yet: fine-tune it as a bi-encoder. Decoder and "
            "language-model head are kept, so that pre-training can go on."
        )
        return super().card()._replace(sentence=sentence, tags=("information-retrieval", "simlm"))
