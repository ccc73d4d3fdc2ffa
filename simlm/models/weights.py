"""What transformers reads of a folder or a Hugging Face id: opened quietly, checked for weights that are missing or left out."""

from __future__ import annotations

import os
import re
from logging import CRITICAL, getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlm.errors import UserError
from simlm.hardware import attention_implementation
from simlm.models.architecture import check_architecture
from simlm.models.manifest import WEIGHTS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PICKLED = "pytorch_model.bin"
LAYER = re.compile(r"(^|\.)(layers?|h|blocks?)\.\d+\.(?!.*(position_ids|inv_freq|masked_bias)$)")
"""Names of weights that belong to a layer of an encoder; buffers that old versions saved are none."""


def load_config(reference: str | Path) -> Any:
    """The transformers configuration of a folder or Hugging Face id."""
    from transformers import AutoConfig

    return load_pretrained(AutoConfig, reference, "model")


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
