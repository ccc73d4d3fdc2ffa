"""The model folder: what transformers loads as it is, and ``simlm.json``, which says what it is and is written last."""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Callable, Sequence
from logging import CRITICAL, getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlm.config.kinds.roles import Retriever
from simlm.errors import UserError
from simlm.files import atomic_folder, sha256_file, sha256_text, write_json
from simlm.files import read_manifest as read_manifest_file
from simlm.hardware import attention_implementation
from simlm.models.architecture import OFFSET_POSITIONS, check_architecture, check_sees_all, position_limit

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from simlm.context import Context
    from simlm.models.reading import Reading

MANIFEST = "simlm.json"
WEIGHTS, PICKLED = "model.safetensors", "pytorch_model.bin"
LAYER = re.compile(r"(^|\.)(layers?|h|blocks?)\.\d+\.(?!.*(position_ids|inv_freq|masked_bias)$)")
"""Names of weights that belong to a layer of an encoder; buffers that old versions saved are none."""
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")


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
    if reference not in context.experiment.models:
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
    if config.model_type in OFFSET_POSITIONS and tokenizer.pad_token_id != config.pad_token_id:
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
        If there is no such model, its weights do not fill the encoder, or its architecture names its dropouts otherwise.
    """
    from transformers import MODEL_MAPPING, AutoModel

    config = load_config(reference)
    own = {name: getattr(config, name, None) for name in DROPOUTS}
    if dropout is not None:
        if None in own.values():
            raise UserError(f"{reference}: a {config.model_type} encoder has no {' and '.join(DROPOUTS)} to set; leave dropout out")
        config.update(dict.fromkeys(DROPOUTS, dropout))
    options = {}
    if type(config) in MODEL_MAPPING and _has_pooler(MODEL_MAPPING[type(config)]):
        options["add_pooling_layer"] = False
    model, info = load_pretrained(AutoModel, reference, "model", config=config, output_loading_info=True, **options, **weights_options())
    check_complete(reference, info)
    if dropout is not None:
        model.config.update(own)
    return model


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


def load_config(reference: str | Path) -> Any:
    """The transformers configuration of a folder or Hugging Face id."""
    from transformers import AutoConfig

    return load_pretrained(AutoConfig, reference, "model")


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


def save_model(
    folder: str | Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    *,
    kind: str,
    key: str,
    lengths: dict[str, int],
    reading: Reading | None = None,
    between: Sequence[nn.Module] = (),
    extra: dict[str, Any] | None = None,
    write: Callable[[Path], None] | None = None,
) -> None:
    """Write a complete model folder in one step; an older folder is replaced only when the new one is whole.

    Parameters
    ----------
    lengths
        Longest inputs in tokens by name (``query``, ``passage``, ``pair``).
    reading, between
        How a bi-encoder reads, and the modules behind its pooling; by default SimLM's way, and none.
    extra
        More entries for ``simlm.json``.
    write
        Called with the unfinished folder to add files of its own (decoder weights, model card).
    """
    bi_encoder = kind == Retriever.format
    tokenizer.model_max_length = position_limit(model.config) or max(lengths.values())
    # What the last call happened to set is no property of the tokenizer.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    with atomic_folder(folder) as temporary:
        model.save_pretrained(temporary, state_dict=_with_pooler(model) if bi_encoder else None)
        tokenizer.save_pretrained(temporary)
        described: dict[str, Any] = {}
        if bi_encoder:
            from simlm.models.reading import Reading
            from simlm.models.sentence_transformers_files import write_sentence_transformers_files

            reading = reading or Reading()
            written = write_sentence_transformers_files(temporary, reading, between, model.config.hidden_size, max(lengths.values()))
            digests = {module.name: [sha256_file(file) for file in sorted(module.iterdir())] for module in written}
            described = reading.for_manifest() | ({"between": digests} if digests else {})
        if write is not None:
            write(temporary)
        weights = {"sha256": sha256_file(temporary / WEIGHTS), "bytes": (temporary / WEIGHTS).stat().st_size}
        write_json(temporary / MANIFEST, {"kind": kind, "key": key, "lengths": lengths, **described, **(extra or {}), "weights": weights})


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """``simlm.json`` of a trained model, after a look at the size of its weights.

    Raises
    ------
    UserError
        If the model was never completed, or its weights are truncated or gone.
    """
    folder = Path(folder)
    made_by = f"simlm train --model {folder.name}"
    manifest = local_manifest(folder, made_by)
    again = f"delete {folder} and run {made_by} again"
    weights = folder / WEIGHTS
    size = weights.stat().st_size if weights.exists() else 0
    if size != manifest["weights"]["bytes"]:
        raise UserError(f"{weights} is truncated or not the one {MANIFEST} describes ({size:,} bytes instead of {manifest['weights']['bytes']:,}); {again}")
    return manifest


def local_manifest(folder: Path, made_by: str) -> dict[str, Any]:
    """``simlm.json`` of a folder, checked for its form alone."""
    shape = {"kind": str, "lengths": dict, "weights": {"bytes": int, "sha256": str}}
    manifest = read_manifest_file(folder / MANIFEST, "the manifest of a model", made_by, shape)
    for what, length in manifest["lengths"].items():
        if not isinstance(length, int) or length < 1:
            raise UserError(f"{folder / MANIFEST} gives {length!r} as the length of a {what}, which is no number of tokens; run {made_by} again")
    return manifest


def verified_manifest(folder: str | Path) -> dict[str, Any]:
    """:func:`read_manifest`, after the weights were compared with their digest; for those who go on to load them.

    Raises
    ------
    UserError
        Also if the weights are not those that the manifest describes.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if sha256_file(folder / WEIGHTS) != manifest["weights"]["sha256"]:
        raise UserError(
            f"{folder / WEIGHTS} is not what {MANIFEST} describes (its sha256 differs); delete {folder} and run simlm train --model {folder.name} again"
        )
    return manifest


def model_fingerprint(folder: str | Path) -> str:
    """Digest of all that a trained model's vectors or scores depend on, beside its tokenizer and lengths (:func:`identity_of`)."""
    return identity_of(read_manifest(folder))


def identity_of(manifest: dict[str, Any]) -> str:
    """The sha256 of the weights for a model that reads in SimLM's way; another way of reading is another model."""
    from simlm.models.reading import Reading

    weights, other = manifest["weights"]["sha256"], [manifest.get("between", {})]
    if "pooling" in manifest and (reading := Reading.of_manifest(manifest)) != Reading():
        other.append(reading.for_manifest())
    return sha256_text(json.dumps([weights, other], sort_keys=True)) if any(other) else weights


def _has_pooler(model_class: type) -> bool:
    return "add_pooling_layer" in inspect.signature(model_class.__init__).parameters


def _with_pooler(model: PreTrainedModel) -> dict[str, Any] | None:
    """Weights plus an identity pooler where the architecture has one, so that a plain ``AutoModel`` loads without a warning.

    The pooler plays no part in the embedding.
    """
    if getattr(model, "pooler", None) is not None or not _has_pooler(type(model)):
        return None
    import torch

    fresh = type(model)(model.config)
    if getattr(fresh, "pooler", None) is None:  # NomicBERT has a place for one, and none by default
        return None
    width = model.config.hidden_size
    added = {
        f"pooler.{name}": torch.eye(width) if value.shape == (width, width) else torch.zeros_like(value) for name, value in fresh.pooler.state_dict().items()
    }
    return {**model.state_dict(), **added}


def weights_options() -> dict[str, Any]:
    """How weights are read everywhere: in fp32, with the attention that suits the machine."""
    import torch

    return {"dtype": torch.float32, "attn_implementation": attention_implementation()}


def load_pretrained(auto_class: Any, reference: str | Path, what: str, **options: Any) -> Any:
    """Call ``from_pretrained`` quietly on a folder, or on the folder of a Hugging Face id in the cache; every failure becomes one sentence.

    Weights come from safetensors. Where a checkpoint has none, as Google's ELECTRA has not, ``pytorch_model.bin`` is
    read by torch's restricted unpickler, which builds tensors and refuses to run code.
    """
    from transformers.utils import logging

    folder = folder_of(reference, what)
    _check_folder(folder, what)
    if what == "model":
        check_architecture(folder, reference)
    if "dtype" in options:
        options["use_safetensors"] = any(folder.glob("model*.safetensors"))
        if not options["use_safetensors"] and not any(folder.glob("pytorch_model*.bin")):
            raise UserError(f"{reference} holds no weights (neither {WEIGHTS} nor {PICKLED}, whole or in shards); copy them beside its config.json")
    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    hub = getLogger("huggingface_hub")
    hub_level = hub.level
    hub.setLevel(CRITICAL)
    try:
        return auto_class.from_pretrained(folder, trust_remote_code=False, local_files_only=True, **options)
    except Exception as error:  # transformers lets through whatever a foreign file provokes
        reason = (" ".join(str(error).split()).split(". ")[0].rstrip(".") or type(error).__name__)[:240]
        if "ignore_mismatched_sizes" in reason:
            reason = "its config.json and its weights belong to different models"
        raise UserError(f"{reference} does not hold a {what} that transformers can read ({reason}); make or download it again") from None
    finally:
        logging.set_verbosity(verbosity)
        hub.setLevel(hub_level)


def folder_of(reference: str | Path, what: str = "model") -> Path:
    """The local folder of a model or tokenizer; that of a Hugging Face id lies in the cache.

    Raises
    ------
    UserError
        If there is none.
    """
    reference = os.path.expanduser(str(reference))
    if os.path.isdir(reference):
        return Path(reference)
    if reference.startswith((".", "/", "~")):
        raise UserError(f"{reference} does not exist; give the folder of a {what} or a Hugging Face id (owner/name)")
    from simlm.hub import fetch

    return fetch(reference, "tokenizer" if what == "tokenizer" else "model")


def _check_folder(folder: Path, what: str) -> None:
    if what == "model" and not (folder / "config.json").exists() and (folder / "adapter_config.json").exists():
        raise UserError(f"{folder} holds an adapter (PEFT), not a model; merge it into its base model and save that")
    if what == "model" and not (folder / "config.json").exists():
        raise UserError(f"{folder} is not a model folder: it has no config.json; give a folder that transformers' save_pretrained wrote")
    if what == "tokenizer" and not any((folder / name).exists() for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json")):
        raise UserError(f"{folder} holds no tokenizer (no tokenizer.json, no vocab.txt); put the tokenizer of the model beside its weights")


def check_complete(reference: str | Path, info: dict[str, Any], head_of: PreTrainedModel | None = None) -> None:
    """Refuse a checkpoint that lacks weights of its encoder, or has layers that its configuration does not.

    Parameters
    ----------
    info
        What transformers reports of a loading.
    head_of
        A model whose weights outside of its encoder may be missing; None: none may.
    """
    body = f"{head_of.base_model_prefix}." if head_of is not None else ""
    missing = [name for name in missing_weights(info) if name.startswith(body) and not (head_of is not None and _is_pooler(name))]
    if missing:
        raise UserError(
            f"{reference} lacks {len(missing)} weights of its encoder, such as {missing[0]}; its config.json and its weights belong to different models"
        )
    more = sorted(name for name in info.get("unexpected_keys", ()) if LAYER.search(name))
    if more:
        raise UserError(
            f"{reference} has {len(more)} weights in its layers that its config.json does not know, such as {more[0]}, which would be left out; "
            "its config.json and its weights belong to different models"
        )


def missing_weights(info: dict[str, Any]) -> list[str]:
    """Names of the weights that a loading did not find, or found in another shape, sorted."""
    mismatched = {entry[0] if isinstance(entry, tuple) else entry for entry in info.get("mismatched_keys", ())}
    return sorted({*info["missing_keys"], *mismatched})


def _is_pooler(name: str) -> bool:
    return "pooler" in name.split(".")
