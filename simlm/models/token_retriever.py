"""A late-interaction model opened from wherever it lies, and its folder: encoder, tokenizer, projection, and the way of reading."""

from __future__ import annotations

import hashlib
import json
import string
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlm.errors import UserError
from simlm.files import write_json
from simlm.models.late_interaction import LateInteractionModel, TokenReader, TokenReading
from simlm.models.loading import fit_tokenizer, load_encoder, load_tokenizer
from simlm.models.manifest import MANIFEST, WEIGHTS, verified_manifest
from simlm.models.retriever import lengths_of
from simlm.models.weights import PICKLED, folder_of

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

DIMENSION = 128
"""Numbers per vector of a model that does not say its own (ColBERT, section 3.2)."""

LENGTHS = {"query": 32, "passage": 180}
"""Longest inputs in tokens, markers included, of a model that does not say its own."""

PROJECTION, ENTRY = "1_Dense", "token_reading"
"""Folder of the linear layer, as sentence-transformers names it, and the entry of ``simlm.json`` that says how the model reads."""

COLBERT, METADATA = "HF_ColBERT", "artifact.metadata"
"""Architecture that ColBERT's own code writes into ``config.json``, and its file of settings."""


@dataclass(frozen=True)
class TokenRetriever:
    """What embeds tokens.

    Attributes
    ----------
    projection
        Linear layer without bias over the encoder's states.
    lengths
        Longest ``query`` and ``passage`` in tokens, markers included.
    said_by
        The file that says how the model reads, or None where the paper's way is assumed.
    """

    encoder: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    projection: nn.Linear
    reading: TokenReading
    lengths: dict[str, int]
    said_by: str | None

    @property
    def reader(self) -> TokenReader:
        """Makes tokens of texts."""
        return TokenReader(self.tokenizer, self.lengths, self.reading)

    def model(self, most_texts: int | None = None) -> LateInteractionModel:
        """Makes vectors of tokens."""
        return LateInteractionModel(self.encoder, self.projection, self.reader, most_texts)

    def entry(self) -> dict[str, Any]:
        """Entry of ``simlm.json``: how the model reads, and the digest of its projection."""
        return {ENTRY: {**asdict(self.reading), "dimension": self.projection.out_features, "projection": _digest(self.projection.weight)}}

    def write(self, folder: Path) -> None:
        """Put the projection beside the encoder's weights, and the small files by which sentence-transformers opens both."""
        from safetensors.torch import save_file

        width, dimension = self.projection.in_features, self.projection.out_features
        tokens = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
        plain = {"in_features": width, "out_features": dimension, "bias": False, "activation_function": "torch.nn.modules.linear.Identity"}
        skipped = {"skiplist_words": list(string.punctuation) if self.reading.skip_punctuation else [], "skiplist_tasks": ["document"]}
        modules = {
            "": ("base.modules.transformer.Transformer", None),
            PROJECTION: ("base.modules.dense.Dense", {**plain, **tokens}),
            "2_MultiVectorMask": ("multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask", skipped),
            "3_Normalize": ("base.modules.normalize.Normalize", tokens),
        }
        listed = [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.{kind}"} for i, (path, (kind, _)) in enumerate(modules.items())]
        for path, (_, settings) in modules.items():
            if path:
                write_json(folder / path / "config.json", settings)
        save_file({"linear.weight": self.projection.weight.detach().cpu().contiguous()}, folder / PROJECTION / WEIGHTS, metadata={"format": "pt"})
        write_json(folder / "modules.json", listed)
        filled = {"strategy": "fixed", "attend": self.reading.augmentation == "attended", "token": None, "length": self.lengths["query"]}
        query = {"query_length": self.lengths["query"]} if self.reading.augmentation == "none" else {"query_expansion": filled}
        states = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
        about = {"transformer_task": "feature-extraction", "modality_config": states, "module_output_name": "token_embeddings"}
        write_json(folder / "sentence_bert_config.json", {**about, "document_length": self.lengths["passage"], **query})
        prompts = {"query": f"{self.reading.query_marker} ", "document": f"{self.reading.passage_marker} "}
        write_json(folder / "config_sentence_transformers.json", {"model_type": "MultiVectorEncoder", "prompts": prompts, "similarity_fn_name": None})


def open_token_retriever(reference: str | Path, settings: Any = None, dropout: float | None = None) -> TokenRetriever:
    """Open a late-interaction model, or an encoder that becomes one.

    A folder of this project and one in the layout of ColBERT's own code bring their projection and their way of reading along; any
    other encoder gets a random projection (torch's generator). Markers that the vocabulary lacks are added to it, with random embeddings.

    Parameters
    ----------
    reference
        A folder or a Hugging Face id.
    settings
        Block of the configuration whose settings go before what the model says of itself; null leaves that.
    dropout
        See :func:`~simlm.models.loading.load_encoder`.

    Raises
    ------
    UserError
        If there is no such model, its parts do not fit each other, or it cannot be read as it or the configuration says.
    """
    folder = folder_of(reference)
    reading, lengths, weight, said_by = TokenReading(), {}, None, None
    if (folder / MANIFEST).is_file():
        manifest = verified_manifest(folder)
        if isinstance(said := manifest.get(ENTRY), dict):
            reading, lengths, said_by = TokenReading.of_manifest(said), dict(manifest["lengths"]), MANIFEST
            weight = _weight(folder / PROJECTION / WEIGHTS)
    elif is_colbert(folder):
        reading, lengths, weight, said_by = *_metadata(folder), _weight(folder / _weights_file(folder)), METADATA
    if settings is not None:
        reading = reading.changed(settings)
    tokenizer, encoder = load_tokenizer(reference), load_encoder(reference, dropout)
    fit_tokenizer(tokenizer, encoder, reference)
    _mark(tokenizer, encoder, reading)
    if reading.augmentation != "none" and tokenizer.mask_token_id is None:
        raise UserError(f"{reference}: its tokenizer has no [MASK] to fill queries up with; set augmentation: none, or choose an encoder such as BERT")
    projection = _projection(encoder.config, weight, getattr(settings, "dimension", None), reference)
    return TokenRetriever(encoder, tokenizer, projection, reading, lengths_of(lengths, settings, encoder, LENGTHS), said_by)


def is_colbert(folder: Path) -> bool:
    """Whether a folder is in the layout of ColBERT's own code."""
    try:
        return COLBERT in (json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or [])
    except (OSError, ValueError, AttributeError):
        return False


def _metadata(folder: Path) -> tuple[TokenReading, dict[str, int]]:
    """What ``artifact.metadata`` says; without the file, that code's defaults."""
    file = folder / METADATA
    try:
        said = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({' '.join(str(error).split())[:120]}); download the model again") from None
    default = TokenReading()
    expected = {
        "query_token_id": default.query_marker, "doc_token_id": default.passage_marker, "mask_punctuation": True, "attend_to_mask_tokens": False,
        "query_maxlen": LENGTHS["query"], "doc_maxlen": LENGTHS["passage"], "similarity": "cosine",
    }  # fmt: skip
    values = {name: said.get(name, value) if isinstance(said, dict) else None for name, value in expected.items()}
    for name, value in values.items():
        if type(value) is not type(expected[name]) or (isinstance(value, int) and not isinstance(value, bool) and value < 4):
            raise UserError(f"{file} says {name}: {value!r}, which is not known here; download the model again")
    if values["similarity"] != "cosine":
        raise UserError(f"{file} compares tokens by {values['similarity']}, but late interaction is built here with cosines; choose another model")
    attended = "attended" if values["attend_to_mask_tokens"] else "unattended"
    reading = TokenReading(values["query_token_id"], values["doc_token_id"], attended, values["mask_punctuation"])
    return reading, {"query": values["query_maxlen"], "passage": values["doc_maxlen"]}


def _mark(tokenizer: PreTrainedTokenizerFast, encoder: PreTrainedModel, reading: TokenReading) -> None:
    """Make each marker one token, which no text is cut into, and which the encoder has an embedding for."""
    from tokenizers import AddedToken

    markers = [AddedToken(marker, special=True, normalized=False) for marker in (reading.query_marker, reading.passage_marker)]
    tokenizer.add_tokens(markers, special_tokens=True)
    if len(tokenizer) > encoder.get_input_embeddings().weight.shape[0]:
        encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)


def _projection(config: Any, weight: torch.Tensor | None, dimension: int | None, reference: str | Path) -> nn.Linear:
    import torch
    from torch import nn

    width = config.hidden_size
    if weight is not None and (weight.ndim != 2 or weight.shape[1] != width):
        raise UserError(f"{reference}: its projection takes {list(weight.shape)} but its states have {width} numbers; its files belong to different models")
    if weight is not None and dimension not in (None, weight.shape[0]):
        raise UserError(f"{reference} gives vectors of {weight.shape[0]} numbers, but dimension is {dimension}; leave dimension out")
    projection = nn.Linear(width, weight.shape[0] if weight is not None else dimension or DIMENSION, bias=False)
    with torch.no_grad():
        if weight is None:
            nn.init.normal_(projection.weight, std=getattr(config, "initializer_range", 0.02))
        else:
            projection.weight.copy_(weight)
    return projection


def _weights_file(folder: Path) -> str:
    return WEIGHTS if (folder / WEIGHTS).is_file() else PICKLED


def _weight(file: Path) -> torch.Tensor:
    """``linear.weight`` of a file, in fp32."""
    import pickle

    import torch
    from safetensors import SafetensorError, safe_open

    try:
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as stream:
                return stream.get_tensor("linear.weight").float()
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)["linear.weight"].float()
    except (OSError, SafetensorError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{file} holds no projection of a late-interaction model, linear.weight ({reason}); make or download the model again") from None


def _digest(weight: torch.Tensor) -> str:
    return hashlib.sha256(weight.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()
