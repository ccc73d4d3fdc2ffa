"""Tiny retrievers with random weights in the folder layout of sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file


def describe(
    folder: Path,
    pooling: dict[str, Any],
    behind: Sequence[tuple[str, dict[str, Any], dict[str, torch.Tensor]]] = (),
    settings: dict[str, Any] | None = None,
    longest: int = 24,
    lowercase: bool = False,
    pickled: bool = False,
) -> Path:
    """Write the small files beside the weights of ``folder``; ``behind`` lists the modules after the pooling: type, settings, weights."""
    places = [("", "Transformer"), ("1_Pooling", "Pooling"), *((f"{i}_{kind}", kind) for i, (kind, _, _) in enumerate(behind, 2))]
    entries = [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"} for i, (path, kind) in enumerate(places)]
    (folder / "modules.json").write_text(json.dumps(entries))
    width = json.loads((folder / "config.json").read_text())["hidden_size"]
    for (path, _), (about, weights) in zip(
        places[1:], [({"word_embedding_dimension": width, **pooling}, {}), *((about, weights) for _, about, weights in behind)]
    ):
        (folder / path).mkdir()
        (folder / path / "config.json").write_text(json.dumps(about))
        if weights and pickled:
            torch.save(weights, folder / path / "pytorch_model.bin")
        elif weights:
            save_file(weights, folder / path / "model.safetensors")
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": longest, "do_lower_case": lowercase}))
    if settings is not None:
        (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return folder


def dense(inputs: int, outputs: int, activation: str = "activation.Tanh", bias: bool = True) -> tuple[str, dict[str, Any], dict[str, torch.Tensor]]:
    """A Dense module with random weights."""
    weights = {"linear.weight": torch.randn(outputs, inputs)} | ({"linear.bias": torch.randn(outputs)} if bias else {})
    about = {"in_features": inputs, "out_features": outputs, "bias": bias, "activation_function": f"torch.nn.modules.{activation}"}
    return "Dense", about, weights


NORMALIZE = ("Normalize", {}, {})
