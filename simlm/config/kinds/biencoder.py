"""``biencoder``: one encoder for queries and passages, trained contrastively and, with a teacher, by distillation."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from simlm.config.kinds.base import Training
from simlm.config.kinds.reading import ReadingSettings
from simlm.config.kinds.roles import ListTrained, Retriever
from simlm.config.kinds.selecting import SelectingSettings
from simlm.config.kinds.teaching import TEACHERS, DistillingSettings


class BiEncoder(ListTrained, Training, DistillingSettings, SelectingSettings, ReadingSettings, Retriever):
    """Dense retriever (paper sections 3.2 and 3.3)."""

    kind: Literal["biencoder"]
    trainer: ClassVar[str] = "simlm.training.biencoder:train"
    not_trained: ClassVar[tuple[str, ...]] = (*Training.not_trained, *Retriever.afterwards)

    init: str = Field(description="Pre-trained encoder: a model of the graph, a Hugging Face id or a local folder.")
    negatives: str | None = Field(
        None, description="System whose top passages give the hard negatives: `bm25` or a bi-encoder; null: only the other queries' passages."
    )
    further_negatives: str | None = Field(
        None,
        description="A second system whose negatives are trained on: an epoch shows half of the queries those of `negatives` and half these, the next the "
        "other way round, so that two epochs are one of both training sets put together (coCondenser's second round).",
    )
    hard_negatives: int = Field(15, ge=0, description="Hard negatives per query and step.")
    temperature: float = Field(0.02, gt=0, description="Cosines are divided by this.")
    contrastive_weight: float = Field(1.0, ge=0, description="Weight of the contrastive loss; the paper takes 0.2 beside distillation.")
    score_terms: Literal["paper", "code", "queries"] = Field(
        "paper",
        description="Scores in the softmax: `paper` (Equation 3) has q·d and d⁺·n, `code` has q·d and the q·q', d⁺·q' and d⁺·d'⁺ of the authors' code, "
        "`queries` q·d alone, as DPR, coCondenser and RetroMAE are trained.",
    )
    rotation: Literal["shuffled", "offset"] = Field(
        "shuffled", description="How positives and negatives change from epoch to epoch: a seeded shuffle per query, or the authors' common offset."
    )
    dropout: float | None = Field(
        None, ge=0, lt=1, description="Dropout of hidden states and attention while this model is trained; null: what the initial model's configuration says."
    )
    hide_query: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the visits at which a query that stands word for word in its positive is taken out of it: a title or a sentence of the passage "
        "that `corpus.made_queries` has made a query of (inverse cloze task: 0.9). Only the training reads the passage so.",
    )
    query_length: int = Field(32, ge=4, description="Longest query in tokens.")
    passage_length: int = Field(144, ge=8, description="Longest (title, passage) in tokens.")

    @model_validator(mode="after")
    def _loss(self) -> BiEncoder:
        if self.teacher is None and self.contrastive_weight == 0:
            raise ValueError("contrastive_weight 0 without a teacher leaves nothing to train")
        return self

    @model_validator(mode="after")
    def _two_lists(self) -> BiEncoder:
        if self.further_negatives is not None and self.further_negatives == self.negatives:
            raise ValueError(f"further_negatives {self.further_negatives} are those of 'negatives' already; name another system")
        if self.further_negatives is not None and self.negatives is None:
            raise ValueError("further_negatives come beside 'negatives', which are not given; name the system there")
        return self

    def mined_from(self) -> dict[str, str]:
        return super().mined_from() | ({"further_negatives": self.further_negatives} if self.further_negatives else {})

    def accepts(self) -> dict[str, tuple[str, ...]]:
        return {"init": ("pretrained", "encodes"), "negatives": ("mined",), "further_negatives": ("mined",), **dict.fromkeys(self.teachers(), TEACHERS)}
