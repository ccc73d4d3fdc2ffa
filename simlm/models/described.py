"""What lies beside the weights of a published retriever: sentence-transformers' small files, which say how its texts are read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlm.errors import UserError
from simlm.models.reading import Reading

if TYPE_CHECKING:
    from torch import nn

MODULES, SETTINGS = "modules.json", "config_sentence_transformers.json"

_NUMBERED = re.compile(r"(\d+)_([A-Za-z]+)")
"""Folders of modules, ``1_Pooling``."""

SWITCHES = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
"""Modes of pooling and the settings that switch them on, in the order in which the vectors are joined."""

_OF_QUERIES, _OF_PASSAGES = ("query",), ("document", "passage", "corpus")
"""Names of prompts that ``encode_query`` and ``encode_document`` look for."""


@dataclass(frozen=True)
class Described:
    """What a folder of sentence-transformers says.

    Attributes
    ----------
    file
        The file that says most: ``modules.json``, where it was left out another.
    transformer
        Folder of configuration, tokenizer and weights; in the first versions a folder of its own.
    max_length
        Longest text in tokens, or None.
    lowercase
        Whether texts are lower-cased before they are tokenized.
    between
        Type and folder of the modules behind the pooling, without the last Normalize.
    truncate
        Numbers that are kept of a vector, the first ones, or None for all.
    """

    file: str
    reading: Reading
    transformer: Path
    max_length: int | None
    lowercase: bool
    between: tuple[tuple[str, Path], ...]
    truncate: int | None


def is_described(folder: Path) -> bool:
    """Whether a folder has a file of sentence-transformers that says how its vectors are made."""
    return any((folder / name).is_file() for name in (MODULES, "1_Pooling/config.json", SETTINGS))


def read_described(folder: Path) -> Described:
    """What the files beside the weights say.

    Raises
    ------
    UserError
        If they say something that is not built here: an unknown module, a distance that is no inner product.
    """
    listed = (folder / MODULES).is_file()
    modules = _modules(folder) if listed else [("Transformer", folder), *_numbered(folder)]
    kinds = [kind for kind, _ in modules]
    if kinds[:2] != ["Transformer", "Pooling"] and (listed or kinds[1:]):
        raise UserError(f"{folder / MODULES} lists {', '.join(kinds) or 'nothing'}; a retriever begins with Transformer and Pooling, others are not built here")
    transformer = modules[0][1]
    behind = [(kind, place) for kind, place in modules[2:] if kind != "Dropout"]  # does nothing outside of training
    for kind, _ in behind:
        if kind not in ("Dense", "Normalize", "LayerNorm"):
            raise UserError(f"{folder / MODULES} has a module {kind}, which is not built here; those behind the pooling may be Dense, LayerNorm and Normalize")
    normalize = bool(behind) and behind[-1][0] == "Normalize"
    about = _json(folder / SETTINGS, absent={})
    query, passage, others = _prompts(about, folder)
    modes, includes_prompt = _pooling(modules[1][1] / "config.json") if kinds[1:] else (Reading().pooling, True)
    if not includes_prompt and (query or passage):
        raise UserError(f"{modules[1][1] / 'config.json'} leaves the prompt out of the pooling (include_prompt: false), which is not built here")
    similarity = _similarity(about, normalize, folder)
    texts, truncate = _text_settings(transformer), _truncation(about, folder)
    last = normalize and not (truncate and similarity == "dot")  # otherwise vectors are cut behind it and stay as long as they are
    return Described(
        MODULES if listed else "1_Pooling" if kinds[1:] else SETTINGS,
        # Cosines are inner products of normalised vectors, whether a module says so or not.
        Reading(modes, last or similarity == "cosine", similarity, query, passage, "joined", others),
        transformer,
        texts.get("max_seq_length"),
        bool(texts.get("do_lower_case")),
        tuple(behind[:-1] if last else behind),
        truncate,
    )


def _modules(folder: Path) -> list[tuple[str, Path]]:
    found = []
    for entry in _json(folder / MODULES, kind=list):
        name, place = (entry.get(key) for key in ("type", "path")) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(place, str):
            raise UserError(f"{folder / MODULES} has an entry without type and path; download the model again")
        if not name.startswith("sentence_transformers."):
            raise UserError(f"{folder / MODULES} has a module of its own code ({name}), which is never run; choose another model")
        if ".." in Path(place).parts or Path(place).is_absolute():
            raise UserError(f"{folder / MODULES} names a place outside of the model ({place}); download the model again")
        found.append((name.rpartition(".")[2], folder / place))
    return found


def _numbered(folder: Path) -> list[tuple[str, Path]]:
    """Modules by the names of their folders, where a copy lacks ``modules.json``."""
    found = [(match, place) for place in folder.iterdir() if (match := _NUMBERED.fullmatch(place.name)) and place.is_dir()]
    return [(match[2], place) for match, place in sorted(found, key=lambda one: int(one[0][1]))]


def _pooling(file: Path) -> tuple[tuple[str, ...], bool]:
    settings = _json(file)
    modes = settings.get("pooling_mode", [mode for mode, switch in SWITCHES.items() if settings.get(switch)] or ["mean"])
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    if other := next((mode for mode in modes if mode not in SWITCHES), None):
        raise UserError(f"{file} asks for the pooling '{other}', which is not built here; there are {', '.join(SWITCHES)}")
    return modes, settings.get("include_prompt", True)


def _prompts(about: dict[str, Any], folder: Path) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """The prompt of queries, that of passages, and all others by name."""
    prompts = {name: text or "" for name, text in (about.get("prompts") or {}).items()}
    if not all(isinstance(text, str) for text in prompts.values()):
        raise UserError(f"{folder / SETTINGS}: a prompt is no text; download the model again")
    if not prompts.keys() & {*_OF_QUERIES, *_OF_PASSAGES}:  # a default prompt is then for any text
        default = prompts.get(about.get("default_prompt_name"), "")
        return default, default, tuple(prompts.items())
    used = [next((name for name in names if name in prompts), "") for names in (_OF_QUERIES, _OF_PASSAGES)]
    query, passage = (prompts.get(name, "") for name in used)
    return query, passage, tuple((name, text) for name, text in prompts.items() if name not in used)


def _truncation(about: dict[str, Any], folder: Path) -> int | None:
    kept = about.get("truncate_dim")
    if kept is not None and (isinstance(kept, bool) or not isinstance(kept, int) or kept < 1):
        raise UserError(f"{folder / SETTINGS}: truncate_dim is {kept!r}, which is no number of dimensions; download the model again")
    return kept


def _similarity(about: dict[str, Any], normalize: bool, folder: Path) -> str:
    kind = about.get("model_type", "SentenceTransformer")
    if kind != "SentenceTransformer":
        raise UserError(f"{folder} is a {kind} of sentence-transformers, not a model with one vector per text")
    name = about.get("similarity_fn_name") or "cosine"
    if name in ("cosine", "dot"):
        return name
    if normalize:
        return "cosine"  # of vectors of length 1 every such distance gives the same order
    raise UserError(f"{folder / SETTINGS} ranks by the {name} distance, but passages are found by inner products; choose another model")


def _text_settings(folder: Path) -> dict[str, Any]:
    names = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
    file = next((folder / f"sentence_{name}_config.json" for name in names if (folder / f"sentence_{name}_config.json").is_file()), None)
    settings = _json(file) if file else {}
    longest = settings.get("max_seq_length")
    if longest is not None and (not isinstance(longest, int) or longest < 1):
        raise UserError(f"{file}: max_seq_length is {longest!r}, which is no number of tokens; download the model again")
    task = settings.get("transformer_task", "feature-extraction")
    if task != "feature-extraction":
        raise UserError(f"{file} says that the model is for {task}, not for embedding; choose another model")
    return settings


def _json(file: Path, kind: type = dict, absent: Any = None) -> Any:
    if absent is not None and not file.is_file():
        return absent
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({' '.join(str(error).split())[:120]}); download the model again") from None
    if not isinstance(value, kind):
        raise UserError(f"{file} holds no {'list' if kind is list else 'settings'}; download the model again")
    return value


def load_between(modules: Iterable[tuple[str, Path]]) -> list[nn.Module]:
    """The modules behind the pooling, given by type and folder, with their weights in fp32.

    Raises
    ------
    UserError
        If their files are missing or say something that is not built here.
    """
    return [_load_module(kind, folder) for kind, folder in modules]


def _load_module(kind: str, folder: Path) -> nn.Module:
    from simlm.models.pooling import LayerNorm, Projection, UnitLength

    if kind == "Normalize":
        return UnitLength()
    settings = _json(folder / "config.json")
    try:
        if kind == "LayerNorm":
            module: nn.Module = LayerNorm(settings["dimension"])
        else:
            module = _projection(settings, folder, Projection)
        module.load_state_dict({name: value.float() for name, value in _weights(folder).items()})
        return module
    except (KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{folder} does not hold the weights of a {kind} module ({reason}); download the model again") from None


def _projection(settings: dict[str, Any], folder: Path, projection: type[nn.Module]) -> nn.Module:
    from torch import nn

    activation = settings.get("activation_function", "torch.nn.modules.activation.Tanh")
    made = getattr(nn, str(activation).rpartition(".")[2], None) if str(activation).startswith("torch.nn.") else None
    if not isinstance(made, type) or not issubclass(made, nn.Module):
        raise UserError(f"{folder / 'config.json'}: the activation {activation!r} is none of torch's; choose another model")
    for key, plain in (("use_residual", False), ("module_input_name", "sentence_embedding"), ("module_output_name", "sentence_embedding")):
        if settings.get(key) not in (None, plain):
            raise UserError(f"{folder / 'config.json'}: {key} is {settings[key]!r}, which is not built here; choose another model")
    return projection(settings["in_features"], settings["out_features"], settings.get("bias", True), activation)


def _weights(folder: Path) -> dict[str, Any]:
    import pickle

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if (folder / "model.safetensors").is_file():
            return load_file(folder / "model.safetensors")
        import torch

        return torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, pickle.UnpicklingError) as error:
        raise UserError(f"{folder} has no weights that can be read ({' '.join(str(error).split())[:120]}); download the model again") from None
