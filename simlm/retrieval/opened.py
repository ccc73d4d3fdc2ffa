"""Any model that embeds, opened for texts that belong to no experiment: a folder of this project, or one from the hub as it says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from simlm.errors import UserError
from simlm.models.described import is_described
from simlm.models.hybrid import ENTRY as HYBRID
from simlm.models.manifest import MANIFEST, verified_manifest
from simlm.models.token_retriever import ENTRY, is_colbert
from simlm.models.weights import folder_of
from simlm.progress import say
from simlm.retrieval.encoder import TextEncoder
from simlm.retrieval.hybrid_encoder import HybridEncoder
from simlm.retrieval.token_encoder import TokenEncoder

if TYPE_CHECKING:
    from simlm.hardware import Precision


def open_embedder(reference: str, precision: Precision, batch_size: int = 128) -> TextEncoder | TokenEncoder:
    """What embeds with the model of a folder or a Hugging Face id.

    Raises
    ------
    UserError
        If there is no such model, or it does not embed.
    """
    folder = folder_of(reference)
    if (folder / MANIFEST).is_file():
        manifest = verified_manifest(folder)
        opener = TokenEncoder if ENTRY in manifest else HybridEncoder if HYBRID in manifest else TextEncoder
        return opener(folder, precision, batch_size)
    if is_colbert(folder):
        return TokenEncoder.published(folder, precision, batch_size)
    if not is_described(folder) and (head := _head(folder)):
        raise UserError(f"{reference} is a {head}, which gives no vectors of texts; name a retriever")
    encoder = TextEncoder.published(folder, precision, batch_size)
    if encoder.said_by is None:
        say(f"{reference} says nothing of how it reads: the vector is that of the first token, as SimLM's; if it was trained otherwise, these are wrong ones.")
    return encoder


def _head(folder: Path) -> str | None:
    """The architecture that a folder's ``config.json`` names, where it is one that classifies or generates."""
    try:
        named = (json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or [""])[0]
    except (OSError, ValueError, AttributeError):
        return None
    return named if isinstance(named, str) and named.endswith(("Classification", "QuestionAnswering", "ConditionalGeneration")) else None
