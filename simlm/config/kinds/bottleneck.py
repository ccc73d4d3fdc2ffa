"""``bottleneck``: pre-training through corrupted text and heads that undo it; as it stands SimLM, by other settings its relatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

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


class BagOfWords(Block):
    """The words of a text are predicted from its [CLS] alone, or from all other tokens together, with a weight that falls along a cosine."""

    read: Literal["cls", "tokens"] = Field(
        "cls", description="What predicts them: [CLS], or for each word of the vocabulary the largest logit of any other token (`tokens`), as in DupMAE."
    )
    share: Literal["word", "token"] = Field(
        "word", description="Weight of each distinct word of a text: one over their number (`word`), or one over all tokens (`token`), as in DupMAE's code."
    )
    weight: float = Field(1.0, gt=0, description="Weight of the loss when training begins.")
    final_weight: float = Field(0.1, ge=0, description="Weight of the loss when training ends.")


class SpanContrast(Block):
    """Two spans of a text are read at a time, and the [CLS] of the one must find that of the other among all spans of the batch (coCondenser)."""

    of: Literal["passage", "title"] = Field(
        "passage", description="Texts that spans are cut from: single passages, or all passages with one `title`, as those of one page have."
    )
    read: int = Field(512, ge=16, description="Tokens read of a passage before it is cut; a span has at most `max_length`.")
    weight: float = Field(1.0, gt=0, description="Weight of the loss between spans.")


Corruption = Literal["replaced", "masked", "clean"]
Objective = Literal["restore", "restore_masked", "detect", "none"]


class Bottleneck(Training, Pretrained):
    """Pre-training of a retriever; as it stands SimLM (paper section 3.1): a deep encoder whose [CLS] feeds a shallow decoder, both restore replaced tokens."""

    kind: Literal["bottleneck"]
    trainer: ClassVar[str] = "simlm.training.bottleneck:train"
    not_trained: ClassVar[tuple[str, ...]] = (*Training.not_trained, "probe")
    how_not_what: ClassVar[tuple[str, ...]] = (*Training.how_not_what, "probe")
    format: ClassVar[str] = "bottleneck"
    shape: ClassVar[tuple[str, str]] = ("[[", "]]")
    outside: ClassVar[tuple[str, ...]] = ("init", "generator")

    init: str = Field(description="Base model: a model of the graph, a Hugging Face id or a local folder.")
    generator: str | None = Field(
        None, description="Masked language model that proposes replacements; same vocabulary as `init`. Needed where a text is `replaced`, and only there."
    )
    encoder_corruption: Corruption = Field(
        "replaced", description="What stands at the corrupted positions of the encoder's input: the generator's samples, [MASK], or the text itself (`clean`)."
    )
    encoder_mask: float = Field(0.3, gt=0, lt=1, description="Share of tokens corrupted in the encoder's input.")
    mask_tokens: Literal["all", "80-10-10"] = Field(
        "all", description="What stands in `masked` text: [MASK] everywhere, or as in BERT 80 % [MASK], 10 % a token by chance and 10 % the text's own."
    )
    encoder_objective: Objective = Field(
        "restore",
        description="Loss of the encoder: original tokens at all positions (`restore`) or at the masked ones (`restore_masked`), "
        "whether each token was replaced (`detect`), or `none`.",
    )
    decoder: Literal["shallow", "condenser", "retromae", "none"] = Field(
        "shallow",
        description="What restores the text from [CLS]: `shallow`, SimLM's, which reads a corrupted text of its own; `condenser`, which reads states of an "
        "early layer of the encoder; `retromae`, which reads the clean text but hides from each position itself and a sample; `none`.",
    )
    decoder_corruption: Corruption = Field("replaced", description="The same as `encoder_corruption` for the input of the shallow decoder.")
    decoder_mask: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of tokens corrupted in the shallow decoder's input, the encoder's among them; `retromae`: hidden from each position.",
    )
    decoder_objective: Objective = Field("restore", description="Loss of the decoder, as `encoder_objective`.")
    decoder_layers: int = Field(2, ge=1, description="Decoder depth.")
    decoder_init: Literal["copied", "fresh"] = Field("copied", description="The decoder starts as copies of the last layers of the initial encoder, or fresh.")
    decoder_token_types: Literal["zero", "pair"] = Field("pair", description="Token types of the decoder's input; `zero` is what the authors' code does.")
    early_layer: int | None = Field(
        None, ge=0, description="Layer of the encoder that Condenser's head reads, 0 for its embeddings; null: half of them. Only with `decoder: condenser`."
    )
    bag_of_words: BagOfWords | None = Field(None, description="Predict the distinct words of a text from its [CLS] as well; `{}` for the published weights.")
    span_contrast: SpanContrast | None = Field(
        None,
        description="Contrast spans of a text as well, as coCondenser does; `{}` for its settings. `batch_size` then counts texts, of two spans each, and "
        "the loss is over all of them whatever `micro_batch_size`, the texts read at once (cached gradients).",
    )
    train_generator: bool = Field(False, description="Train the generator jointly instead of keeping it frozen.")
    generator_weight: float = Field(0.2, ge=0, description="Weight of the generator's loss when it is trained.")
    generator_labels: Literal["both", "encoder"] = Field(
        "both", description="Masks whose tokens a trained generator learns to restore: those of both sides, or the encoder's alone, as in the authors' code."
    )
    generator_dropout: bool = Field(False, description="Keep the frozen generator's dropout on, as the authors' trainer does.")
    label_fraction: float = Field(
        1.0, gt=0, le=1, description="Share of the labelled positions, drawn anew each step, on which the two losses are computed; 1 is the paper."
    )
    unknown_tokens: Literal["words", "kept"] = Field(
        "words",
        description="`words`: [UNK] is corrupted and restored like any word; `kept`: it may use up the masks' budget, but stays in the text and is never "
        "restored, as in the authors' code.",
    )
    mean_over: Literal["step", "micro_batch"] = Field(
        "step",
        description="Losses are means over all labels of a step, however it is divided; `micro_batch`: the mean of the micro-batches' means, as in the "
        "authors' code, so that the labels of a short one count more.",
    )
    max_length: int = Field(144, ge=8, description="Longest (title, passage) in tokens.")
    holdout: int = Field(4096, ge=0, description="Passages kept for the evaluation of the losses (never more than a tenth of the corpus).")
    probe: Probe | None = Field(Probe(), description="Retrieval probe; null switches it off.")

    @property
    def is_simlm(self) -> bool:
        """Whether the settings are SimLM's objective: both sides restore all of a text in which a generator has replaced tokens, and nothing else is learnt."""
        sides = {self.encoder_corruption, self.decoder_corruption} == {"replaced"} and {self.encoder_objective, self.decoder_objective} == {"restore"}
        return sides and self.decoder == "shallow" and self.bag_of_words is None and self.span_contrast is None

    @property
    def noun(self) -> str:
        named = "coCondenser" if self.span_contrast is not None and self.decoder == "condenser" else "bottleneck"
        return "SimLM pre-training" if self.is_simlm else f"{named} pre-training"

    @property
    def replaces(self) -> bool:
        """Whether a generator replaces tokens on either side."""
        return self.encoder_corruption == "replaced" or (self.decoder == "shallow" and self.decoder_corruption == "replaced")

    @property
    def labelled(self) -> float:
        """Positions at which words are predicted, as a multiple of the tokens of a text."""
        sides = [(self.encoder_objective, self.encoder_mask)]
        if self.decoder != "none":
            sides.append((self.decoder_objective, self.decoder_mask if self.decoder == "shallow" else self.encoder_mask))
        bag = 1.0 if self.bag_of_words is not None and self.bag_of_words.read == "tokens" else 0.0
        return bag + sum({"restore": self.label_fraction, "restore_masked": share}.get(objective, 0.0) for objective, share in sides)

    @model_validator(mode="after")
    def _generator(self) -> Bottleneck:
        if self.replaces and self.generator is None:
            raise ValueError("generator is missing: it proposes the replacements; name one, or set encoder_corruption and decoder_corruption to masked")
        if not self.replaces and (self.generator is not None or self.train_generator):
            raise ValueError("no text is replaced with these settings, so that no generator is read; leave generator and train_generator out")
        return self

    @model_validator(mode="after")
    def _generator_labels(self) -> Bottleneck:
        if self.generator_labels == "encoder" and self.encoder_corruption != "replaced":
            raise ValueError(f"generator_labels encoder leaves the generator nothing to learn: the encoder's text is {self.encoder_corruption}; leave it out")
        return self

    @model_validator(mode="after")
    def _objectives(self) -> Bottleneck:
        if self.encoder_objective == "none" and self.decoder == "none" and self.bag_of_words is None and self.span_contrast is None:
            raise ValueError("there is nothing to learn: encoder_objective is none and there is neither a decoder nor bag_of_words nor span_contrast")
        if self.decoder != "none" and self.decoder_objective == "none":
            raise ValueError("decoder_objective is none; leave the decoder out with decoder: none")
        if self.early_layer is not None and self.decoder != "condenser":
            raise ValueError("early_layer is what Condenser's head reads; set decoder: condenser or leave it out")
        sides = {"encoder": (self.encoder_corruption, self.encoder_objective)}
        if self.decoder == "shallow":
            sides["decoder"] = (self.decoder_corruption, self.decoder_objective)
        elif self.decoder == "condenser":
            sides["decoder"] = (self.encoder_corruption, self.decoder_objective)
        elif self.decoder == "retromae" and self.decoder_objective != "restore":
            raise ValueError(f"decoder_objective {self.decoder_objective} does not go with decoder: retromae, which restores all of a text; leave it out")
        for side, (corruption, objective) in sides.items():
            if objective == "detect" and corruption != "replaced":
                raise ValueError(f"{side}_objective detect finds replaced tokens, but the text that it reads is {corruption}")
            if objective in ("restore", "restore_masked") and corruption == "clean":
                raise ValueError(f"{side}_objective {objective} would restore what stands in the clean text that it reads; corrupt it or set another objective")
        return self

    @model_validator(mode="after")
    def _masks(self) -> Bottleneck:
        corrupted = self.encoder_corruption != "clean" and self.decoder == "shallow" and self.decoder_corruption != "clean"
        if corrupted and self.decoder_mask < self.encoder_mask:
            raise ValueError("decoder_mask must not be smaller than encoder_mask: the encoder's corrupted tokens are among the decoder's")
        return self

    @model_validator(mode="after")
    def _mask_tokens(self) -> Bottleneck:
        if self.mask_tokens != "all" and "masked" not in (self.encoder_corruption, self.decoder_corruption if self.decoder == "shallow" else None):
            raise ValueError(f"mask_tokens {self.mask_tokens} is about masked text, and none is masked with these settings; leave it out")
        return self

    def reads_models(self) -> dict[str, str]:
        return {"generator": self.generator} if self.generator is not None else {}

    def accepts(self) -> dict[str, tuple[str, ...]]:
        return {"init": ("pretrained",), "generator": ("generates",)}

    def reads_splits(self) -> dict[str, str]:
        return {"probe.split": self.probe.split} if self.probe else {}

    def card(self, said: Mapping[str, Any]) -> Card:
        how = "through a representation bottleneck (SimLM)" if self.is_simlm else f"by other objectives than SimLM's ({self._objectives_in_words()})"
        after = "It does not retrieve yet: fine-tune it as a bi-encoder. What was trained beside it is kept, so that pre-training can go on."
        method = super().card(said).method if self.is_simlm else ""
        return super().card(said)._replace(sentence=f"An encoder pre-trained {how}. {after}", tags=("information-retrieval", "simlm"), method=method)

    def _objectives_in_words(self) -> str:
        parts = [] if self.encoder_objective == "none" else [f"encoder: {self.encoder_objective} from {self.encoder_corruption} text"]
        parts += [] if self.decoder == "none" else [f"decoder: {self.decoder}, {self.decoder_objective}"]
        parts += ["bag of words"] if self.bag_of_words is not None else []
        parts += ["spans of a text against each other"] if self.span_contrast is not None else []
        return "; ".join(parts).replace("_", " ")

    @property
    def texts(self) -> int:
        return 1 if self.span_contrast is None else 2

    @property
    def decoding_layers(self) -> int:
        return self.decoder_layers if self.decoder != "none" else 0

    def operations(self, work: Any, name: str) -> float:
        return work.bottleneck(name, self)
