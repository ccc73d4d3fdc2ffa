"""``given_biencoder`` and ``given_crossencoder``: published models that are evaluated as they are; nothing is trained."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from simlm.config.kinds.base import ModelBlock, Untitled
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
        return f"published model {self.init}"


class GivenBiEncoder(GivenModel, Retriever):
    """A published dense retriever: [CLS] of the last layer, L2-normalised."""

    kind: Literal["given_biencoder"]
    noun: ClassVar[str] = "given retriever"
    not_trained: ClassVar[tuple[str, ...]] = (*GivenModel.not_trained, *Retriever.afterwards)

    query_length: int = Field(32, ge=4, description="Longest query in tokens.")
    passage_length: int = Field(144, ge=8, description="Longest (title, passage) in tokens.")


class GivenCrossEncoder(GivenModel, Reranker):
    """A published re-ranker with one logit."""

    kind: Literal["given_crossencoder"]
    noun: ClassVar[str] = "given re-ranker"
    not_trained: ClassVar[tuple[str, ...]] = (*GivenModel.not_trained, "rerank", "rerank_depth")

    rerank: str = Field(description="System whose top passages are re-ranked in the evaluation.")
    rerank_depth: int = Field(200, ge=1, description="Passages per query that are re-ranked; the others keep their order below them.")
    max_length: int = Field(192, ge=8, description="Longest (query, passage) in tokens.")
    untitled: Untitled = Field("text", description="A passage without a title is its text alone, or `-: text`, which the authors' released re-ranker reads.")

    def accepts(self) -> dict[str, tuple[str, ...]]:
        return {"rerank": ("retrieves",)}

    def about(self) -> str:
        return f"{super().about()}, re-ranks the top {self.rerank_depth} of {self.candidates()}"
