"""``given_biencoder`` and ``given_crossencoder``: published models that are evaluated as they are; nothing is trained."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from simlm.config.kinds.base import ModelBlock, Untitled
from simlm.config.kinds.reading import ReadingSettings
from simlm.config.kinds.roles import Reranker, Retriever


class GivenModel(ModelBlock):
    """A model from outside, taken into the experiment's own folder layout so that every later stage treats it like a trained one."""

    trainer: ClassVar[str] = "simlm.models.given:take_over"
    made_by: ClassVar[str] = "import_model"
    origin: ClassVar[str] = "released"
    not_trained: ClassVar[tuple[str, ...]] = ("threads", "gpus")
    how_not_what: ClassVar[tuple[str, ...]] = not_trained

    init: str = Field(description="The published model: a Hugging Face id (`owner/name` or `owner/name@revision`) or a local folder.")
    threads: int = Field(8, ge=1, description="CPU threads asked for; never more than the machine has.")
    gpus: int = Field(0, ge=0, description="GPUs asked for.")

    def about(self) -> str:
        return f"{'model folder' if _is_folder(self.init) else 'published model'} {self.init}"


class GivenBiEncoder(GivenModel, ReadingSettings, Retriever):
    """A published dense retriever, read as it says of itself, else in SimLM's way."""

    kind: Literal["given_biencoder"]
    noun: ClassVar[str] = "given retriever"
    not_trained: ClassVar[tuple[str, ...]] = (*GivenModel.not_trained, *Retriever.afterwards)

    query_length: int | None = Field(None, ge=4, description="Longest query in tokens; null: what the model says of itself, else 32.")
    passage_length: int | None = Field(None, ge=8, description="Longest (title, passage) in tokens; null: what the model says of itself, else 144.")


class GivenCrossEncoder(GivenModel, Reranker):
    """A published re-ranker with one logit."""

    kind: Literal["given_crossencoder"]
    noun: ClassVar[str] = "given re-ranker"
    not_trained: ClassVar[tuple[str, ...]] = (*GivenModel.not_trained, "rerank", "rerank_depth")

    rerank: str = Field(description="System whose top passages are re-ranked in the evaluation.")
    rerank_depth: int = Field(200, ge=1, description="Passages per query that are re-ranked; the others keep their order below them.")
    max_length: int | None = Field(None, ge=8, description="Longest (query, passage) in tokens; null: what the model says of itself, else 192.")
    untitled: Untitled | None = Field(
        None,
        description="A passage without a title is its `text` alone, or `-: text` (`dash`), which the authors' released re-ranker reads; "
        "null: what the model says of itself, else `text`.",
    )
    lexical_hints: bool | None = Field(
        None, description="BM25's score of the pair stands before the passage; null: what the `simlm.json` of a local folder says, else false."
    )

    def reads_lexical_index(self) -> bool:
        return self.lexical_hints if self.lexical_hints is not None else _says_hints(self.init)

    def accepts(self) -> dict[str, tuple[str, ...]]:
        return {"rerank": ("retrieves",)}

    def about(self) -> str:
        return f"{super().about()}, re-ranks the top {self.rerank_depth} of {self.candidates()}"


def _is_folder(init: str) -> bool:
    """Whether a model comes from this machine and not from a hub.

    >>> _is_folder("./mine"), _is_folder("intfloat/simlm-base-msmarco-finetuned")
    (True, False)
    """
    return init.startswith((".", "/", "~")) or os.path.isdir(init)


def _says_hints(init: str) -> bool:
    """Whether a folder is a re-ranker of ours that reads BM25's scores; the graph must know it before anything is imported."""
    try:
        return json.loads((Path(os.path.expanduser(init)) / "simlm.json").read_text(encoding="utf-8")).get("lexical_hints") is True
    except (OSError, ValueError, AttributeError):
        return False
