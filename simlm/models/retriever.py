"""A bi-encoder opened from wherever it lies: weights, tokenizer, and the way of reading that they were trained for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlm.errors import UserError
from simlm.models.architecture import check_sees_all, is_causal, position_limit
from simlm.models.described import is_described, load_between, read_described
from simlm.models.loading import fit_tokenizer, load_encoder, load_tokenizer
from simlm.models.manifest import MANIFEST, verified_manifest
from simlm.models.pooling import LayerNorm, Projection, VectorHead, first_of
from simlm.models.reading import Reading, TextReader
from simlm.models.weights import folder_of, load_config

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from simlm.models.biencoder import BiEncoderModel

LENGTHS = {"query": 32, "passage": 144}
"""Longest inputs in tokens of a model that does not say its own (paper, section 4.1)."""


NO_LIMIT = 10**9
"""transformers puts a larger number where a tokenizer has no limit."""


@dataclass(frozen=True)
class Retriever:
    """What embeds.

    Attributes
    ----------
    lengths
        Longest ``query`` and ``passage`` in tokens.
    said_by
        The file that says how the model reads, or None where SimLM's way is assumed.
    """

    encoder: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    reading: Reading
    between: list[nn.Module]
    lengths: dict[str, int]
    said_by: str | None

    @property
    def head(self) -> VectorHead:
        """Makes vectors of the encoder's states; it holds the weights of the modules behind the pooling."""
        return VectorHead(self.reading.pooling, self.between, self.reading.normalize)

    @property
    def reader(self) -> TextReader:
        """Makes tokens of texts."""
        return TextReader(self.tokenizer, self.lengths, self.reading)

    def model(self, most_texts: int | None = None) -> BiEncoderModel:
        """Makes vectors of padded batches; ``most_texts``: see :class:`~simlm.models.biencoder.BiEncoderModel`."""
        from simlm.models.biencoder import BiEncoderModel

        return BiEncoderModel(self.encoder, most_texts, self.head)

    def said(self) -> dict[str, Any]:
        """What ``simlm.json`` says of how the model reads, for its card and the record of its training."""
        return {**self.reading.for_manifest(), "between": list(self.between)}

    def contents(self) -> dict[str, Any]:
        """What its folder holds beside the encoder, in the words of :func:`~simlm.models.folder.save_model`."""
        return {"reading": self.reading, "between": self.between}

    def write(self, folder: Path) -> None:
        """Add files of its own to an unfinished folder."""


def open_retriever(reference: str | Path, settings: Any = None, place: str = "", dropout: float | None = None) -> Retriever:
    """Open a bi-encoder, or an encoder that becomes one.

    Parameters
    ----------
    reference
        A folder or a Hugging Face id.
    settings
        Block of the configuration whose settings go before what the model says of itself; null leaves that.
    place
        Path of that block, for sentences.
    dropout
        See :func:`~simlm.models.loading.load_encoder`.

    Raises
    ------
    UserError
        If there is no such model, it cannot be read as it or the configuration says, or its parts do not fit each other.
    """
    folder = folder_of(reference)
    reading, lengths, between, said_by, described = Reading(), {}, [], None, None
    transformer = folder
    if (folder / MANIFEST).is_file():
        manifest = verified_manifest(folder)
        if "pooling" in manifest:
            reading, lengths, said_by = Reading.of_manifest(manifest), dict(manifest["lengths"]), MANIFEST
            between = [(name.partition("_")[2], folder / name) for name in manifest.get("between", {})]
    elif is_described(folder):
        described = read_described(folder)
        reading, transformer, between, said_by = described.reading, described.transformer, list(described.between), described.file
    source = reference if transformer == folder else transformer
    config = load_config(source)
    if settings is not None:
        reading = reading.changed(settings, place)
    if "cls" in reading.pooling:
        check_sees_all(config, reference, "cannot be the vector; set pooling: lasttoken, or choose an encoder")
    tokenizer, encoder = load_tokenizer(source, framed=not is_causal(config)), load_encoder(source, dropout)
    fit_tokenizer(tokenizer, encoder, reference)
    if described and described.lowercase:
        _lowercase(tokenizer)
    if described and (longest := described.max_length or _longest(tokenizer)):
        lengths = dict.fromkeys(LENGTHS, longest)
    modules = load_between(between)
    width = _width_behind(modules, encoder.config.hidden_size * len(reading.pooling), reference)
    if described and described.truncate and described.truncate < width:
        modules.append(first_of(width, described.truncate))
    return Retriever(encoder, tokenizer, reading, modules, lengths_of(lengths, settings, encoder), said_by)


def _longest(tokenizer: PreTrainedTokenizerFast) -> int | None:
    """What a tokenizer says, where sentence-transformers' newer versions leave the length."""
    return tokenizer.model_max_length if tokenizer.model_max_length < NO_LIMIT else None


def lengths_of(said: dict[str, int], settings: Any, encoder: PreTrainedModel, usual: dict[str, int] = LENGTHS) -> dict[str, int]:
    """The configuration's lengths, else the model's own, else the paper's ``usual`` ones, these two never beyond its positions."""
    limit = position_limit(encoder.config)
    found = {}
    for side, default in usual.items():
        own = said.get(side, default)
        found[side] = getattr(settings, f"{side}_length", None) or min(own, limit or own)
    return found


def _width_behind(modules: list[nn.Module], width: int, reference: str | Path) -> int:
    """Width of the vectors behind the modules, each of which must take what the one before it gives."""
    for module in modules:
        if isinstance(module, Projection):
            wanted, after = module.linear.in_features, module.linear.out_features
        else:
            wanted, after = (module.norm.normalized_shape[0] if isinstance(module, LayerNorm) else width), width
        if wanted != width:
            raise UserError(
                f"{reference} has a module behind its pooling that takes vectors of {wanted} dimensions, but they have {width}; leave its pooling as it is"
            )
        width = after
    return width


def _lowercase(tokenizer: PreTrainedTokenizerFast) -> None:
    from tokenizers.normalizers import Lowercase, Sequence

    engine = tokenizer.backend_tokenizer
    engine.normalizer = Sequence([Lowercase(), *([engine.normalizer] if engine.normalizer is not None else [])])
