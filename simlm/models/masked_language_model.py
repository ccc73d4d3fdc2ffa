"""Masked language models: loading with their head, and the decoder that a bottleneck model keeps beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from simlm.errors import UserError
from simlm.models.architecture import check_sees_all
from simlm.models.loading import dropouts_of, fit_tokenizer, load_tokenizer
from simlm.models.weights import check_complete, load_config, load_pretrained, missing_weights, weights_options

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

STATE = "bottleneck.safetensors"


def load_masked_language_model(
    reference: str | Path, tokenizer: PreTrainedTokenizerFast, caution: Callable[[str], None] | None = None, dropout: float | None = None
) -> PreTrainedModel:
    """A masked language model with its head, in fp32, checked against the experiment's vocabulary.

    A base without a head, as every retriever and most published encoders are, gets a fresh one whose output layer is tied to its
    embeddings; ``caution`` is told. ``dropout``: see :func:`~simlm.models.loading.load_encoder`.

    Raises
    ------
    UserError
        If there is no such model, it lacks weights, is causal, or its vocabulary is another one.
    """
    from transformers import AutoModelForMaskedLM

    config = load_config(reference)
    check_sees_all(config, reference, "cannot restore masked words")
    own = dropouts_of(config, reference) if dropout is not None else {}
    config.update(dict.fromkeys(own, dropout))
    model, info = load_pretrained(AutoModelForMaskedLM, reference, "model", config=config, output_loading_info=True, **weights_options())
    check_complete(reference, info, head_of=model)
    if head := missing_weights(info):
        model = _with_fresh_head(reference, config)
        (caution or _say)(f"{reference} has no head for masked words ({head[0]} is missing): it gets a fresh one, tied to its embeddings")
    model.config.update(own)
    fit_tokenizer(tokenizer, model, reference)
    _check_words(reference, tokenizer)
    return model


def _with_fresh_head(reference: str | Path, config: PretrainedConfig) -> PreTrainedModel:
    from transformers import AutoModelForMaskedLM

    config.tie_word_embeddings = True
    model = load_pretrained(AutoModelForMaskedLM, reference, "model", config=config, **weights_options())
    model.tie_weights()
    return model


def _say(sentence: str) -> None:
    from simlm.progress import say

    say(f"caution: {sentence}")


def _check_words(reference: str | Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Refuse a checkpoint whose own tokenizer gives other ids to the words: it would train on noise without an error."""
    try:
        own = load_tokenizer(reference).get_vocab()
    except UserError:
        return  # weights alone say nothing about their words
    other = next((word for word, index in tokenizer.get_vocab().items() if own.get(word) != index), None)
    if other is not None:
        raise UserError(
            f"{reference} has another vocabulary than the experiment: its id of '{other}' is {own.get(other)}, not {tokenizer.get_vocab()[other]}; "
            "set tokenizer.init to that checkpoint, or start from one of this vocabulary"
        )


HEADS = ("decoder", "detectors")
"""Parts of a bottleneck model that lie beside its encoder, so that pre-training can go on from it."""


def bottleneck_writer(model: nn.Module, generator: nn.Module | None) -> Callable[[Path], None]:
    """A function that adds decoder and heads (and a trained generator) to a model folder."""

    def write(folder: Path) -> None:
        from safetensors.torch import save_file

        state = {name: value.contiguous() for name, value in model.state_dict().items() if name.split(".")[0] in HEADS}
        if generator is not None:
            generator.save_pretrained(folder / "generator")
        save_file(state, folder / STATE, metadata={"format": "pt"})

    return write


def load_heads(folder: Path, model: nn.Module) -> None:
    """Continue with the decoder and the heads that a bottleneck model keeps.

    Raises
    ------
    UserError
        If the file is missing, torn, or of another shape (a changed ``decoder_layers``).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / STATE
    try:
        state: dict[str, Tensor] = load_file(file)
        for part in HEADS:
            getattr(model, part).load_state_dict({name.removeprefix(f"{part}."): value for name, value in state.items() if name.startswith(f"{part}.")})
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{file} does not hold the decoder and heads of this model ({reason}); keep decoder, decoder_layers and objectives as they were, "
            "or start from another model"
        ) from None
