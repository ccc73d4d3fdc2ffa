"""Writes the model folder: what transformers loads as it is, and ``simlm.json``, which says what it is and is written last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlm.config.kinds.roles import Retriever
from simlm.digests import describe
from simlm.files import atomic_folder, sha256_file, write_json
from simlm.models.architecture import has_pooler, position_limit
from simlm.models.manifest import MANIFEST, WEIGHTS

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from simlm.models.reading import Reading


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
        bare = bi_encoder or "token_reading" in (extra or {})
        model.save_pretrained(temporary, state_dict=_with_pooler(model) if bare else None)
        tokenizer.save_pretrained(temporary)
        described: dict[str, Any] = {}
        if bi_encoder:
            from simlm.models.reading import Reading
            from simlm.models.sentence_transformers_files import write_sentence_transformers_files

            reading = reading or Reading()
            written = write_sentence_transformers_files(temporary, reading, between, model.config.hidden_size, max(lengths.values()))
            digests = {module.name: [sha256_file(file) for file in sorted(module.iterdir())] for module in written}
            described = reading.for_manifest() | ({"prompts": dict(reading.prompts)} if reading.prompts else {}) | ({"between": digests} if digests else {})
        if write is not None:
            write(temporary)
        weights = {"sha256": sha256_file(temporary / WEIGHTS), "bytes": (temporary / WEIGHTS).stat().st_size}
        # The card is written again when the figures are known.
        files = describe(temporary, but=(WEIGHTS, "README.md"))
        write_json(temporary / MANIFEST, {"kind": kind, "key": key, "lengths": lengths, **described, **(extra or {}), "weights": weights, "files": files})


def _with_pooler(model: PreTrainedModel) -> dict[str, Any] | None:
    """Weights plus an identity pooler where the architecture has one, so that a plain ``AutoModel`` loads without a warning.

    The pooler plays no part in the embedding.
    """
    if getattr(model, "pooler", None) is not None or not has_pooler(type(model)):
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
