"""Any model that embeds, opened for texts that belong to no experiment: a folder of this project, or one from the hub as it says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from simlm.config.kinds.roles import Retriever
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
    kind = embedder_of(folder)
    if (folder / MANIFEST).is_file():
        return kind(folder, precision, batch_size)
    encoder = kind.published(folder, precision, batch_size)
    if isinstance(encoder, TextEncoder) and encoder.said_by is None:
        say(f"{reference} says nothing of how it reads: the vector is that of the first token, as SimLM's; if it was trained otherwise, these are wrong ones.")
    return encoder


def embedder_of(folder: Path) -> type[TextEncoder | TokenEncoder]:
    """What embeds with the model of a folder: a vector for a text, or one for every token.

    Raises
    ------
    UserError
        If the model does not embed.
    """
    if (folder / MANIFEST).is_file():
        manifest = verified_manifest(folder)
        if HYBRID in manifest:
            return HybridEncoder
        if ENTRY not in manifest and manifest["kind"] != Retriever.format:
            raise UserError(f"{folder} is a {manifest['kind']}, which does not embed queries and passages; name a retriever")
        return TokenEncoder if ENTRY in manifest else TextEncoder
    if is_colbert(folder):
        return TokenEncoder
    if not is_described(folder) and (head := _head(folder)):
        raise UserError(f"{folder} is a {head}, which gives no vectors of texts; name a retriever")
    return TextEncoder


def _head(folder: Path) -> str | None:
    """The architecture that a folder's ``config.json`` names, where it is one that classifies or generates."""
    try:
        named = (json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or [""])[0]
    except (OSError, ValueError, AttributeError):
        return None
    return named if isinstance(named, str) and named.endswith(("Classification", "QuestionAnswering", "ConditionalGeneration")) else None
