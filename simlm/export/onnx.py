"""A retriever as an ONNX graph, from tokens to the finished vector: pooling, what follows it and normalisation are inside.

onnx, onnxscript and onnxruntime are no part of the requirements (``pip install 'simlm[onnx]'``). Before the folder is put into its place the
graph is run and its vectors are compared with torch's.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from simlm.errors import UserError
from simlm.files import atomic_folder, require_new, write_json
from simlm.models.retriever import Retriever, open_retriever
from simlm.models.text import pad
from simlm.models.weights import folder_of
from simlm.retrieval.encoder import TextEncoder
from simlm.retrieval.opened import embedder_of

NEEDED = ("onnx", "onnxscript", "onnxruntime")
CLOSE = 1e-4
"""Largest difference between a number of torch's vector and of the graph's."""

TEXTS = ["a", "swap two columns of a matrix", "what is a dense retriever, and how long is this text in the end?"]
"""Texts of different lengths, which the graph is traced with and compared on."""


class _Embedding(nn.Module):
    """Positional arguments in the order of ``names``, for the exporter."""

    def __init__(self, opened: Retriever, names: list[str]) -> None:
        super().__init__()
        self.encoder, self.head, self.names = opened.encoder, opened.head, names

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        batch = dict(zip(self.names, values, strict=True))
        return self.head(self.encoder(**batch).last_hidden_state, batch["attention_mask"])


def require_packages() -> None:
    """Refuse, before anything is loaded, where a package is missing.

    Raises
    ------
    UserError
        With the command that installs it.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UserError(f"the export to ONNX needs {' and '.join(missing)}, which simlm does not install by itself; run pip install {' '.join(missing)}")


def export_onnx(reference: str, folder: Path) -> float:
    """Write ``model.onnx`` with its tokenizer and ``reading.json``; returns the largest difference from torch's vectors.

    The graph takes ``input_ids``, ``attention_mask`` and, if the model reads them, ``token_type_ids`` (int64, shape (texts, length), any of both)
    and gives ``vector`` (fp32, shape (texts, dimension)). ``reading.json`` says what is written around queries and passages before they become
    tokens, and how many tokens are read.

    Raises
    ------
    UserError
        If a package is missing, the model is no bi-encoder, or the graph does not give its vectors.
    """
    require_packages()
    require_new(folder)
    if embedder_of(folder_of(reference)) is not TextEncoder:
        raise UserError(f"{reference} is no bi-encoder; a graph is made of retrievers whose vector of a text is pooled from its tokens' states")
    opened = open_retriever(reference)
    tokens = opened.reader.queries(TEXTS), opened.reader.passages(["", "numpy", ""], TEXTS)
    batches = [pad(own, opened.tokenizer) for own in tokens]
    names = list(batches[0])
    model = _Embedding(opened, names).eval()
    with atomic_folder(folder) as temporary:
        _trace(model, batches[1], names, temporary / "model.onnx")
        opened.tokenizer.save_pretrained(temporary)
        reading = {**opened.reading.for_manifest(), "lengths": opened.lengths, "dimension": opened.head.dimension(opened.encoder.config.hidden_size)}
        write_json(temporary / "reading.json", {**reading, "inputs": names, "output": "vector"})
        difference = max(_difference(model, batch, temporary / "model.onnx") for batch in batches)
        if not difference <= CLOSE:
            raise UserError(f"the graph of {reference} gives vectors that differ from torch's by {difference:.1e}; keep to torch, or try another onnxscript")
    return difference


def _trace(model: nn.Module, batch: dict[str, torch.Tensor], names: list[str], file: Path) -> None:
    texts, length = torch.export.Dim("texts", min=1), torch.export.Dim("length", min=1)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            tuple(batch.values()),
            str(file),
            input_names=names,
            output_names=["vector"],
            dynamic_shapes=(tuple({0: texts, 1: length} for _ in names),),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _difference(model: nn.Module, batch: dict[str, torch.Tensor], file: Path) -> float:
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        wanted = model(*batch.values()).numpy()
    (found,) = session.run(["vector"], {name: values.numpy() for name, values in batch.items()})
    return float(np.abs(found - wanted).max())
