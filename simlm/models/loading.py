"""Tokenizers, encoders and classifiers of a folder or a Hugging Face id, refused with the reason where they do not fit."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlm.config.architectures import DROPOUTS, POSITIONS_FROM_PADDING
from simlm.errors import UserError
from simlm.models.architecture import check_sees_all, has_pooler, position_limit
from simlm.models.manifest import verified_manifest
from simlm.models.weights import check_complete, load_config, load_pretrained, missing_weights, weights_options

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from simlm.context import Context


def resolve_init(context: Context, reference: str) -> str:
    """Where the model that ``init``, ``generator`` or ``teacher`` names lies.

    Parameters
    ----------
    reference
        A model of the graph, a local folder, or a Hugging Face id (``owner/name`` or ``owner/name@revision``).

    Returns
    -------
    str
        The folder of a trained model of the graph; anything else as it is.

    Raises
    ------
    UserError
        If the model of the graph has not been trained yet.
    """
    if reference not in context.experiment.systems:
        return os.path.expanduser(reference)
    folder = context.paths.model(reference)
    verified_manifest(folder)
    return str(folder)


def load_tokenizer(reference: str | Path, *, framed: bool = True) -> PreTrainedTokenizerFast:
    """The tokenizer of a model folder, a tokenizer folder or a Hugging Face id.

    Parameters
    ----------
    framed
        Whether it must put a token before and one behind a text, as [CLS] and [SEP]; all but causal models need them.

    Raises
    ------
    UserError
        If there is none, it cannot be read, or the first word would stand where [CLS] belongs.
    """
    from transformers import AutoTokenizer

    tokenizer = load_pretrained(AutoTokenizer, reference, "tokenizer")
    if tokenizer.pad_token_id is None and tokenizer.eos_token is not None and not framed:
        # GPT-2's has none; padding stands behind a text, where no token of a causal model sees it.
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise UserError(f"{reference}: its tokenizer has no padding token; use the tokenizer of an encoder such as BERT")
    if framed:
        special = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
        if not (len(special) > 1 and special[0] and special[-1]):
            raise UserError(
                f"{reference}: its tokenizer puts no [CLS] before and no [SEP] behind a text (its tokenizer.json lacks the post_processor), "
                "so that the first word would be read as [CLS]; use the tokenizer that the model was trained with"
            )
    return tokenizer


def fit_tokenizer(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel, reference: str | Path) -> None:
    """Make a tokenizer give what a model reads: token types only where it has them, no text beyond its positions.

    Raises
    ------
    UserError
        If the two belong to different checkpoints: too many tokens, another padding.
    """
    rows, config = model.get_input_embeddings().weight.shape[0], model.config
    if len(tokenizer) > rows:
        raise UserError(
            f"{reference} has {rows} token embeddings but its tokenizer {len(tokenizer)} tokens; give the tokenizer and the model of one checkpoint"
        )
    if config.model_type in POSITIONS_FROM_PADDING and tokenizer.pad_token_id != config.pad_token_id:
        raise UserError(
            f"{reference}: its tokenizer pads with {tokenizer.pad_token_id} and its config.json with {config.pad_token_id}, from which a {config.model_type} "
            "counts positions; give the tokenizer and the model of one checkpoint"
        )
    if "token_type_ids" not in inspect.signature(model.base_model.forward).parameters or getattr(config, "type_vocab_size", 2) < 2:
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    limit = position_limit(config)
    if limit is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, limit)


def load_encoder(reference: str | Path, dropout: float | None = None) -> PreTrainedModel:
    """The bare encoder (no pooler, no head) of a folder or a Hugging Face id, in fp32 and in eval mode.

    Its ``last_hidden_state`` is what the bi-encoder pools. Heads in the checkpoint are ignored.

    Parameters
    ----------
    dropout
        Dropout of hidden states and attention in training, in place of the configuration's, which stays as it is: a model
        saved from this one says nothing of it.

    Raises
    ------
    UserError
        If there is no such model, its weights do not fill the encoder, or its architecture has no dropout to set.
    """
    from transformers import MODEL_MAPPING, AutoModel

    config = load_config(reference)
    own = dropouts_of(config, reference) if dropout is not None else {}
    config.update(dict.fromkeys(own, dropout))
    options = {}
    if type(config) in MODEL_MAPPING and has_pooler(MODEL_MAPPING[type(config)]):
        options["add_pooling_layer"] = False
    model, info = load_pretrained(AutoModel, reference, "model", config=config, output_loading_info=True, **options, **weights_options())
    check_complete(reference, info)
    model.config.update(own)
    return model


def dropouts_of(config: Any, reference: str | Path) -> dict[str, float]:
    """The dropouts of hidden states and attention that a configuration has, by the names of its architecture.

    Raises
    ------
    UserError
        If it has none.

    >>> from transformers import DistilBertConfig, ModernBertConfig
    >>> sorted(dropouts_of(DistilBertConfig(), "")), sorted(dropouts_of(ModernBertConfig(), ""))
    (['attention_dropout', 'dropout'], ['attention_dropout', 'embedding_dropout', 'mlp_dropout'])
    """
    own = {name: getattr(config, name) for name in sorted(DROPOUTS) if isinstance(getattr(config, name, None), int | float)}
    if not own:
        raise UserError(f"{reference}: a {config.model_type} encoder has no dropout of a known name to set; leave dropout out")
    return own


def load_classifier(reference: str | Path) -> PreTrainedModel:
    """The encoder of a folder or Hugging Face id with one output (``AutoModelForSequenceClassification``, one label), in fp32.

    The head is random (torch's generator) where the checkpoint has none.

    Raises
    ------
    UserError
        If there is no such model, its weights do not fill the encoder, or it sees a text from one side only.
    """
    model, info = _classifier(reference)
    check_complete(reference, info, head_of=model)
    return model


def load_trained_classifier(reference: str | Path) -> PreTrainedModel:
    """A re-ranker as it was trained: like :func:`load_classifier`, but the checkpoint must hold a head of one output.

    Raises
    ------
    UserError
        If there is no such model, it has no head or one of several labels, or any other of its weights is missing.
    """
    model, info = _classifier(reference)
    labels = [entry[1][0] for entry in info.get("mismatched_keys", ()) if entry[2][:1] == (1,) and tuple(entry[1][1:]) == tuple(entry[2][1:])]
    if labels:
        raise UserError(
            f"{reference} is a classifier of {labels[0]} labels, and a re-ranker gives one score: which label means relevant only its card says. "
            "Choose a re-ranker with one label, or start a crossencoder from it, which trains a head of its own"
        )
    check_complete(reference, info, head_of=model)
    if missing := missing_weights(info):
        raise UserError(
            f"{reference} has no head that scores a query and a passage ({missing[0]} is missing): it is an encoder, not a re-ranker; "
            "train a crossencoder that starts from it"
        )
    return model


def _classifier(reference: str | Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    from transformers import AutoModelForSequenceClassification

    config = load_config(reference)
    check_sees_all(config, reference, "makes no re-ranker here")
    config.num_labels = 1
    config.problem_type = None
    # A head with another number of labels is replaced by a fresh one.
    options = {"ignore_mismatched_sizes": True, "output_loading_info": True, **weights_options()}
    return load_pretrained(AutoModelForSequenceClassification, reference, "model", config=config, **options)


def check_length(model: PreTrainedModel, length: int, field: str, reference: str | Path) -> None:
    """Refuse inputs longer than the model has positions for.

    Raises
    ------
    UserError
        With the field of the configuration to change.
    """
    limit = position_limit(model.config)
    if limit is not None and length > limit:
        raise UserError(f"{field} is {length}, but {reference} reads at most {limit} tokens; lower {field}")
