"""``crossencoder``: query and passage in one input, one score; the re-ranker and the teacher."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from simlm.config.kinds.base import Training, Untitled
from simlm.config.kinds.roles import Reranker
from simlm.config.kinds.selecting import SelectingSettings


class CrossEncoder(Training, SelectingSettings, Reranker):
    """Re-ranker (paper section 3.3), trained with a localised softmax over hard negatives and R-Drop."""

    kind: Literal["crossencoder"]
    not_trained: ClassVar[tuple[str, ...]] = (*Training.not_trained, "rerank", "rerank_depth")
    trainer: ClassVar[str] = "simlm.training.crossencoder:train"

    init: str = Field(description="Pre-trained encoder: a model of the graph, a Hugging Face id or a local folder.")
    negatives: str = Field(description="System whose top passages give the hard negatives: `bm25` or a bi-encoder.")
    rerank: str | None = Field(None, description="System whose top passages are re-ranked in the evaluation; default: that of `negatives`.")
    rerank_depth: int = Field(200, ge=1, description="Passages per query that are re-ranked; the others keep their order below them.")
    hard_negatives: int = Field(63, ge=1, description="Hard negatives per query and step.")
    forward_factor: int = Field(4, ge=1, description="Only the positive and the hardest 1/forward_factor of the passages are forwarded with gradient.")
    rdrop_weight: float = Field(1.0, ge=0, description="Weight of R-Drop's symmetric KL term; 0 switches the second dropout pass off.")
    lexical_hints: bool = Field(
        False,
        description="Write BM25's score of the pair, in percent of the query's best, before the passage (Askari et al., ECIR 2023), "
        "so that a small re-ranker starts from what BM25 knows; not in the paper.",
    )
    rotation: Literal["shuffled", "offset"] = Field("shuffled", description="How positives and negatives change from epoch to epoch.")
    max_length: int = Field(192, ge=8, description="Longest (query, passage) in tokens.")
    untitled: Untitled = Field("text", description="A passage without a title is its text alone, or `-: text`.")

    def candidates(self) -> str:
        return self.rerank or self.negatives

    def reads_negatives(self) -> str | None:
        return self.negatives

    def reads_lexical_index(self) -> bool:
        return self.lexical_hints

    def accepts(self) -> dict[str, tuple[str, ...]]:
        return {"init": ("pretrained", "encodes"), "negatives": ("mined",), "rerank": ("retrieves",)}

    def about(self) -> str:
        return f"from {self.init}, re-ranks the top {self.rerank_depth} of {self.candidates()}"

    @property
    def texts(self) -> int:
        group = 1 + self.hard_negatives
        kept = group if self.forward_factor == 1 else max(2, group // self.forward_factor)
        return min(group, kept) * (2 if self.rdrop_weight else 1)

    def operations(self, work: Any, name: str) -> float:
        return work.over_pairs(name, self)
