"""The small files by which sentence-transformers and vLLM open a bi-encoder folder and make the same vectors of it.

Names of classes and settings are those that sentence-transformers has read since version 2; vLLM takes the pooling from the first
switch of ``1_Pooling/config.json`` that is on, and normalises where ``modules.json`` has a Normalize.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlm.files import write_json
from simlm.models.described import MODULES, SETTINGS, SWITCHES

if TYPE_CHECKING:
    from torch import nn

    from simlm.models.reading import Reading


def write_sentence_transformers_files(folder: Path, reading: Reading, between: Sequence[nn.Module], width: int, longest: int) -> list[Path]:
    """Describe a bi-encoder of ``width``-dimensional states, its texts cut to ``longest`` tokens; returns the folders of the modules ``between``."""
    names = [*(_name(module) for module in between), *(["Normalize"] if reading.normalize else [])]
    places = [("", "Transformer"), ("1_Pooling", "Pooling"), *((f"{i}_{name}", name) for i, name in enumerate(names, 2))]
    listed = [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"} for i, (path, name) in enumerate(places)]
    write_json(folder / MODULES, listed)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False})
    write_json(folder / "1_Pooling" / "config.json", _pooling_settings(reading.pooling, width))
    behind = [folder / path for path, _ in places[2:]]
    for place, module in zip(behind, between):
        _write_module(place, module)
    if reading.normalize:
        write_json(behind[-1] / "config.json", {})
    prompts = {"query": reading.query_prompt, "document": reading.passage_prompt} if reading.query_prompt or reading.passage_prompt else {}
    write_json(folder / SETTINGS, {"prompts": {**dict(reading.prompts), **prompts}, "similarity_fn_name": reading.similarity})
    return behind[: len(between)]


def _pooling_settings(pooling: tuple[str, ...], width: int) -> dict[str, Any]:
    switches = {switch: mode in pooling for mode, switch in SWITCHES.items() if mode in pooling or mode in ("cls", "max", "mean")}
    ordered = [mode for mode in SWITCHES if mode in pooling]
    # Switches join the vectors in one order; another one is said by the newer setting, which only newer versions read.
    named = {} if list(pooling) == ordered else {"pooling_mode": list(pooling)}
    return {"word_embedding_dimension": width, **switches, **named}


def _name(module: nn.Module) -> str:
    from simlm.models.pooling import LayerNorm, Projection

    return {Projection: "Dense", LayerNorm: "LayerNorm"}.get(type(module), "Normalize")


def _write_module(folder: Path, module: nn.Module) -> None:
    from safetensors.torch import save_file

    from simlm.models.pooling import Projection

    folder.mkdir(parents=True)
    if isinstance(module, Projection):
        layer = module.linear
        settings = {"in_features": layer.in_features, "out_features": layer.out_features, "bias": layer.bias is not None, "activation_function": module.path}
    else:
        settings = {"dimension": module.norm.normalized_shape[0]} if hasattr(module, "norm") else {}
    write_json(folder / "config.json", settings)
    if state := {name: value.detach().contiguous() for name, value in module.state_dict().items()}:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
