"""The vector of two parts: [CLS], and the words of which a text's tokens have the largest logits (DupMAE, Xiao et al., ACL 2023, section 3.3).

The paper keeps the words as (index, value) pairs beside a dense vector. Here they are folded into a fixed number of places, each word of the
vocabulary into one of them with a sign by chance (a count sketch; Charikar et al., ICALP 2002), which keeps the inner product of two texts in
the mean and makes one dense vector of both parts. A text is folded in training as it is in search, so that what is learned is what is found.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from simlm.errors import UserError
from simlm.models.biencoder import BiEncoderModel
from simlm.models.heads.language import head_states, output_layer
from simlm.models.loading import load_tokenizer
from simlm.models.manifest import MANIFEST, verified_manifest
from simlm.models.masked_language_model import load_masked_language_model
from simlm.models.reading import Reading
from simlm.models.retriever import Retriever, lengths_of
from simlm.models.weights import folder_of

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE, ENTRY = "two_parts.safetensors", "hybrid_vector"
"""What makes vectors of the states, and the entry of ``simlm.json`` that says how."""

LOGITS = 2**26
"""Logits that are held at once while the largest are looked for (a quarter of a GiB in fp32)."""

ACTIVATIONS = {"log": lambda logits: logits.relu().log1p(), "relu": torch.relu, "none": lambda logits: logits}


@dataclass(frozen=True)
class Parts:
    """What the vector is made of; the fields are those of the kind's block, where they are described."""

    cls_dimension: int | None = 384
    words: int = 384
    word_dimension: int | None = 768
    word_activation: str = "log"
    word_weight: float = 1.0
    normalize: bool = False

    @classmethod
    def of(cls, said: Any) -> Parts:
        """Those of a block of the configuration, or of the entry of ``simlm.json``."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: said[name] if isinstance(said, dict) else getattr(said, name) for name in names})


def largest_words(heads: torch.Tensor, counted: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, kept: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The words of the vocabulary with the largest logits of any token, without keeping the logits of all.

    Which words they are, and at which tokens, is found without gradients and some texts at a time; their logits are then computed again, with the
    gradient that the largest logit of all has.

    Parameters
    ----------
    heads
        What the output layer sees of the tokens, shape (texts, length, width).
    counted
        Whether a token counts, shape (texts, length); a text without any has logits of 0.
    weight, bias
        The output layer, shapes (vocabulary, width) and (vocabulary,).
    kept
        Words of a text.

    Returns
    -------
    tuple of torch.Tensor
        Logits, fp32 or fp64, and indices of the words, both of shape (texts, kept), the largest logit first.

    >>> logits, words = largest_words(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]), torch.tensor([[1.0], [-1.0], [2.0]]), torch.zeros(3), 2)
    >>> logits.tolist(), words.tolist()
    ([[6.0, 3.0]], [[2, 0]])
    """
    kept = min(kept, len(weight))
    at_once = max(1, LOGITS // max(1, heads.shape[1] * len(weight)))
    with torch.no_grad():
        own = weight.detach(), bias.detach()
        found = [_places(*piece, *own, kept) for piece in zip(heads.detach().split(at_once), counted.split(at_once), strict=True)]
        words, places = (torch.cat(part) for part in zip(*found, strict=True))
    states = _wide(heads[torch.arange(len(heads), device=heads.device)[:, None], places])
    logits = (states * _wide(weight[words])).sum(-1) + _wide(bias[words])
    return torch.where(counted.any(1, keepdim=True), logits, 0.0), words


def _places(heads: torch.Tensor, counted: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, kept: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The words with the largest logits, and the token that has each."""
    logits = functional.linear(heads, weight, bias)
    logits = logits.masked_fill(counted[..., None] == 0, torch.finfo(logits.dtype).min)
    words = logits.amax(1).topk(kept, dim=1).indices
    return words, logits.gather(2, words[:, None].expand(-1, logits.shape[1], -1)).argmax(1)


def _wide(values: torch.Tensor) -> torch.Tensor:
    return values if values.dtype == torch.float64 else values.float()


class TwoParts(nn.Module):
    """Vectors of two parts from the states of a text's tokens.

    A fresh one draws its projection (orthogonal, so that it keeps lengths) and where each word is folded to from torch's generator.

    Parameters
    ----------
    width, vocabulary
        Of the masked language model.
    """

    first_token_only = False

    def __init__(self, width: int, vocabulary: int, parts: Parts) -> None:
        super().__init__()
        self.parts, self.vocabulary = parts, vocabulary
        self.projection = nn.Linear(width, parts.cls_dimension, bias=False) if parts.cls_dimension else None
        if self.projection is not None:
            nn.init.orthogonal_(self.projection.weight)
        if parts.word_dimension:
            # The same number of words in each place, or one more.
            self.register_buffer("places", torch.randperm(vocabulary) % parts.word_dimension)
            self.register_buffer("signs", torch.randint(2, (vocabulary,), dtype=torch.int8) * 2 - 1)

    def dimension(self, width: int) -> int:
        """Width of the vectors of a model of that width."""
        return (self.parts.cls_dimension or width) + (self.parts.word_dimension or self.vocabulary)

    def forward(self, language: nn.Module, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Vectors of texts: fp32 or fp64, shape (texts, dimension), from a masked language model's states (texts, length, width) and mask (texts, length)."""
        logits, words = largest_words(head_states(language, states[:, 1:]), mask[:, 1:], *output_layer(language), self.parts.words)
        with torch.autocast(states.device.type, enabled=False):
            cls, spoken = _wide(states[:, 0]), self.folded(ACTIVATIONS[self.parts.word_activation](logits), words)
            cls = self.projection(cls) if self.projection is not None else cls
            if self.parts.normalize:
                cls, spoken = functional.normalize(cls, dim=-1), functional.normalize(spoken, dim=-1)
            return torch.cat([cls, math.sqrt(self.parts.word_weight) * spoken], dim=-1)

    def folded(self, values: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """A number per place, shape (texts, places), of words' values (texts, words)."""
        if self.parts.word_dimension:
            values, words = values * self.signs[words], self.places[words]
        texts = torch.arange(len(values), device=values.device)[:, None].expand_as(words)
        empty = values.new_zeros(len(values), self.parts.word_dimension or self.vocabulary)
        return empty.index_put((texts, words), values, accumulate=True)


class HybridModel(BiEncoderModel):
    """Embeds padded batches with a masked language model and what makes two parts of its states (``head``)."""

    def embed(self, piece: dict[str, torch.Tensor]) -> torch.Tensor:
        """Embeddings of a padded batch forwarded as it is: fp32, shape (texts, dimension)."""
        return self.head(self.encoder, self.encoder.base_model(**piece).last_hidden_state, piece["attention_mask"])


@dataclass(frozen=True)
class HybridRetriever(Retriever):
    """What embeds; ``encoder`` is the masked language model."""

    parts: TwoParts

    def model(self, most_texts: int | None = None) -> HybridModel:
        return HybridModel(self.encoder, most_texts, self.parts)

    def said(self) -> dict[str, Any]:
        return {ENTRY: {**dataclasses.asdict(self.parts.parts), "reading": self.reading.for_manifest()}}

    def contents(self) -> dict[str, Any]:
        state = {name: _digest(value) for name, value in self.parts.state_dict().items()}
        return {"extra": {ENTRY: {**self.said()[ENTRY], "state": state}}}

    def write(self, folder: Path) -> None:
        from safetensors.torch import save_file

        state = {name: value.detach().cpu().contiguous() for name, value in self.parts.state_dict().items()}
        save_file(state or {"empty": torch.zeros(0)}, folder / FILE, metadata={"format": "pt"})


def open_hybrid(reference: str | Path, settings: Any = None, place: str = "", dropout: float | None = None) -> HybridRetriever:
    """Open a hybrid retriever, or a masked language model that becomes one; parameters as in :func:`~simlm.models.retriever.open_retriever`.

    Raises
    ------
    UserError
        If there is no such model, its parts do not fit each other, or ``settings`` want other parts than a hybrid retriever has.
    """
    folder = folder_of(reference)
    said, lengths, reading, said_by = None, {}, Reading(normalize=False, similarity="dot"), None
    if (folder / MANIFEST).is_file():
        manifest = verified_manifest(folder)
        if isinstance(said := manifest.get(ENTRY), dict):
            reading, lengths, said_by = Reading.of_manifest(said.get("reading", {})), dict(manifest["lengths"]), MANIFEST
        elif "pooling" in manifest:
            # A bi-encoder's prompts and titles go on; its vector does not.
            reading = dataclasses.replace(Reading.of_manifest(manifest), pooling=("cls",), normalize=False, similarity="dot")
    if settings is None and said is None:
        raise UserError(f"{reference} is no hybrid retriever: its {MANIFEST} says nothing of two parts; name one that was trained as kind hybrid")
    if settings is not None:
        reading = reading.changed(settings, place)
    tokenizer = load_tokenizer(reference)
    language = load_masked_language_model(reference, tokenizer, dropout=dropout)
    try:
        parts = Parts.of(settings if settings is not None else said)
        made = TwoParts(language.config.hidden_size, len(output_layer(language)[0]), parts)
    except (KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{folder / MANIFEST} does not say what a hybrid vector is made of ({str(error)[:120]}); train the model again") from None
    if said is not None:
        _load(
            made,
            folder / FILE,
            f"{place or reference} has other parts than {reference}: cls_dimension and word_dimension must be those that it was trained with",
        )
    return HybridRetriever(language.eval(), tokenizer, reading, [], lengths_of(lengths, settings, language), said_by, made)


def _load(parts: TwoParts, file: Path, other: str) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: Mapping[str, torch.Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} cannot be read ({' '.join(str(error).split())[:120]}); train the model again") from None
    state = {name: value for name, value in state.items() if name != "empty"}
    own = parts.state_dict()
    fits = state.keys() == own.keys() and all(state[name].shape == own[name].shape for name in own)
    # A smaller number of places has places of the same shape.
    if not fits or ("places" in state and int(state["places"].max()) + 1 != min(parts.parts.word_dimension, parts.vocabulary)):
        raise UserError(f"{other}; {file} does not fit")
    parts.load_state_dict(state)


def _digest(value: torch.Tensor) -> str:
    return hashlib.sha256(value.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
