"""What an architecture can do, told from its ``config.json`` before a weight is read.

transformers reads a configuration by its ``model_type`` and ignores the keys that this class does not know. A model that came with
code of its own, with other positions or with packed weights would so load as a plain BERT, without a word. It is refused here.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

from simlm.config.architectures import POSITIONS_FROM_PADDING
from simlm.errors import UserError

LAYERS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer")
WIDTHS = ("hidden_size", "dim", "d_model", "n_embd", "embedding_size", "intermediate_size", "hidden_dim", "num_attention_heads", "n_heads")
MOST_LAYERS, WIDEST = 1_000, 262_144
"""Beyond these no encoder was ever made; a slip of the pen would fill the memory before any weight contradicts it."""

POSITIONS = re.compile(r"alibi|rotary|rope_|position_embedding_type|relative_attention")
"""Keys that say where tokens stand."""

NATIVE = {"nomic_bert": {"rotary_emb_base": 1000, "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False}}
"""Architectures that transformers took over from code that came with the weights, and the values that its class takes for granted."""


def check_architecture(folder: Path, reference: str | Path) -> None:
    """Refuse a model folder that transformers would load as something else, or not at all.

    Raises
    ------
    UserError
        With the reason that its ``config.json`` gives.
    """
    file = folder / "config.json"
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({' '.join(str(error).split())[:120]}); download the model again") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("model_type"), str):
        raise UserError(f"{file} does not say its model_type; give a model that transformers' save_pretrained wrote")
    kind = raw["model_type"]
    _check_code(raw, kind, reference)
    if raw.get("quantization_config"):
        way = raw["quantization_config"].get("quant_method", "packed") if isinstance(raw["quantization_config"], dict) else "packed"
        raise UserError(f"{reference} has quantised weights ({way}), which are neither trained nor embedded here; give the model in its original precision")
    if raw.get("is_encoder_decoder") or kind in _types("MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES"):
        raise UserError(f"{reference} is an encoder-decoder ({kind}), of which no half is used here; give an encoder such as BERT, RoBERTa or ModernBERT")
    _check_numbers(raw, file)
    _check_positions(raw, kind, reference)


def _check_code(raw: dict[str, Any], kind: str, reference: str | Path) -> None:
    from transformers import CONFIG_MAPPING

    code, native = raw.get("auto_map") or {}, NATIVE.get(kind)
    if code and native is not None:
        other = next((key for key, value in native.items() if key in raw and raw[key] != value), None)
        if other is None:
            return
        raise UserError(f"{reference}: its code differs from transformers' {kind} ({other} is {raw[other]!r}, not {native[other]!r}); choose another model")
    if code:
        own = next(iter(code.values())) if isinstance(code, dict) else code
        raise UserError(
            f"{reference} computes with code of its own (auto_map: {own}), which is never run; loaded as a plain {kind} its vectors would mean nothing. "
            f"Choose a model of transformers' own architectures"
        )
    if kind not in CONFIG_MAPPING:
        from transformers import __version__

        raise UserError(f"{reference} is of the architecture '{kind}', which transformers {__version__} does not know; choose another model")


def _check_numbers(raw: dict[str, Any], file: Path) -> None:
    for fields, most in ((LAYERS, MOST_LAYERS), (WIDTHS, WIDEST)):
        for field in fields:
            value = raw.get(field, 1)
            if field in raw and (isinstance(value, bool) or not isinstance(value, int)) and not isinstance(value, list):
                raise UserError(f"{file}: {field} is {value!r}, which is no whole number; download the model again")
            if isinstance(value, int) and not 1 <= value <= most:
                raise UserError(f"{file}: {field} is {value:,}, but a model has 1 to {most:,}; download the model again")


def _check_positions(raw: dict[str, Any], kind: str, reference: str | Path) -> None:
    from transformers import CONFIG_MAPPING
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    known = CONFIG_MAPPING[kind]()
    declared = {*known.to_dict(), *known.attribute_map, *NATIVE.get(kind, ())}
    if "rope_parameters" in declared:
        declared |= {"rope_theta", "rope_scaling", "rope_type", "global_rope_theta", "local_rope_theta"}
    for key, value in raw.items():
        if POSITIONS.search(key) and key not in declared and value not in (None, False, "absolute"):
            raise UserError(f"{reference} has positions ({key}: {value!r}) that transformers' {kind} does not build; choose another model")
    for key in ("rope_scaling", "rope_parameters"):
        scaling = raw.get(key)
        own = (scaling.get("rope_type") or scaling.get("type")) if isinstance(scaling, dict) else None
        if isinstance(own, str) and own not in {"default", *ROPE_INIT_FUNCTIONS}:
            raise UserError(f"{reference} has rotary positions of type '{own}' that transformers does not build; choose another model")


def is_causal(config: Any) -> bool:
    """Whether a token sees only the tokens before it, so that the first one knows nothing of the text.

    >>> from transformers import BertConfig, GPT2Config
    >>> is_causal(BertConfig()), is_causal(GPT2Config())
    (False, True)
    """
    if getattr(config, "use_bidirectional_attention", None):
        return False
    kind = config.model_type
    only_causal = kind in _types("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES") and kind not in _types("MODEL_FOR_MASKED_LM_MAPPING_NAMES")
    return only_causal or bool(getattr(config, "is_decoder", False))


def check_sees_all(config: Any, reference: str | Path, what: str) -> None:
    """Refuse a causal model for a use that reads the first token, or masks words in the middle of a text.

    Raises
    ------
    UserError
        If the model is causal.
    """
    if is_causal(config):
        raise UserError(f"{reference} is a causal model ({config.model_type}): its first token sees nothing of the text, so that it {what}")


def position_limit(config: Any) -> int | None:
    """Longest input in tokens, or None where the architecture sets no limit.

    >>> from transformers import BertConfig, RobertaConfig
    >>> position_limit(BertConfig(max_position_embeddings=512)), position_limit(RobertaConfig(max_position_embeddings=514))
    (512, 512)
    """
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or positions <= 0:
        return None
    return positions - config.pad_token_id - 1 if config.model_type in POSITIONS_FROM_PADDING else positions


def has_pooler(model_class: type) -> bool:
    """Whether a model can be built with or without a pooler, a layer behind the first token that plays no part in an embedding."""
    return "add_pooling_layer" in inspect.signature(model_class.__init__).parameters


def _types(mapping: str) -> Any:
    from transformers.models.auto import modeling_auto

    return getattr(modeling_auto, mapping)
