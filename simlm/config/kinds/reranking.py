"""``reranking``: a system's run re-ordered by a model of the graph, which need not be made for it; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from simlm.config.kinds.base import ModelBlock, System
from simlm.config.kinds.roles import Reranker


class Reranking(ModelBlock, Reranker):
    """Another system's run, its top passages re-ordered: late interaction without an index, or a re-ranker on other candidates than its own."""

    kind: Literal["reranking"]
    made_by: ClassVar[None] = None
    format: ClassVar[None] = None
    scores: ClassVar[bool] = False
    noun: ClassVar[str] = "re-ranking"

    scored_by: str = Field(description="Model of the graph that scores a query with a passage: late interaction or a re-ranker.")
    rerank: str = Field(description="System whose top passages are re-ranked in the evaluation.")
    rerank_depth: int = Field(200, ge=1, description="Passages per query that are re-ranked; the others keep their order below them.")
    threads: int = Field(8, ge=1, description="CPU threads asked for; never more than the machine has.")
    gpus: int = Field(0, ge=0, description="GPUs asked for; more than one are not used.")

    def reads_models(self) -> dict[str, str]:
        return {"scored_by": self.scored_by}

    def sorter(self, name: str) -> str:
        return self.scored_by

    def accepts(self) -> dict[str, tuple[str, ...]]:
        return {"scored_by": ("scores",), "rerank": ("retrieves",)}

    def builds_on(self) -> list[str]:
        return [self.rerank, self.scored_by]

    def about(self) -> str:
        return f"the top {self.rerank_depth} of {self.rerank}, in the order of {self.scored_by}"

    def change(self, against: str, other: System, systems: Mapping[str, System]) -> str:
        if against == self.scored_by:
            return f"sorts only the top {self.rerank_depth} of {self.rerank}"
        return f"the top {self.rerank_depth} of {self.rerank} re-ranked by {self.scored_by}"
