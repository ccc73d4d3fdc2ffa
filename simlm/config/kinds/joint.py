"""``joint``: a retriever and a re-ranker that learn from each other over the same lists (RocketQAv2, Ren et al., EMNLP 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from simlm.config.base import Block
from simlm.config.embedding import Encoding, Index
from simlm.config.kinds.base import Card, System, Training, Untitled
from simlm.config.kinds.reading import ReadingSettings
from simlm.config.kinds.roles import Reranker, Retriever
from simlm.config.kinds.selecting import SelectingSettings
from simlm.config.kinds.teaching import TEACHERS, TeacherSettings

METHOD = "RocketQAv2, arXiv 2110.07367"


class Denoising(Block):
    """Which listed passages a teacher's scores make positives, and which stay negatives; what lies between is left out."""

    positive: float = Field(0.9, gt=0, lt=1, description="A listed passage above this is one more positive of its query.")
    negative: float = Field(0.1, gt=0, lt=1, description="A listed passage below this stays a negative.")
    scale: Literal["margin", "logit"] = Field(
        "margin",
        description="What the thresholds are about, as the sigmoid of it: `margin`, the teacher's logit minus that of the best labelled passage of the query, "
        "or the `logit` itself, which is a probability only if the teacher was trained on single passages, as RocketQA's; one trained on lists, as here, "
        "may add any number to all logits of a query.",
    )

    @model_validator(mode="after")
    def _apart(self) -> Denoising:
        if self.negative >= self.positive:
            raise ValueError(f"denoise.negative ({self.negative:g}) must be below denoise.positive ({self.positive:g})")
        return self


class JointRetriever(Retriever):
    """The part that searches."""

    kind: ClassVar[str] = "joint.retriever"
    noun: ClassVar[str] = "joint retriever"

    init: str = Field(description="What it starts from.")
    reranker_init: str = Field(description="What the re-ranker beside it starts from.")
    negatives: str = Field(description="System whose top passages make the lists.")
    query_length: int = Field(description="Longest query in tokens.")
    passage_length: int = Field(description="Longest (title, passage) in tokens.")

    def initial(self) -> None:
        """Nothing: the training of both starts it."""

    def weights_from(self) -> str:
        return self.init

    def builds_on(self) -> list[str]:
        return [self.init]

    def about(self) -> str:
        return f"from {self.init}, together with a re-ranker from {self.reranker_init}, lists from {self.negatives}"

    def change(self, against: str, other: System, systems: Mapping[str, System]) -> str:
        if not other.encodes:
            return super().change(against, other, systems)
        return (
            f"trained on together with a re-ranker, over lists from {self.negatives}"
            if against == self.init
            else "a retriever trained together with a re-ranker"
        )

    def card(self, said: Mapping[str, Any]) -> Card:
        return super().card(said)._replace(method=METHOD)


class JointReranker(Reranker):
    """The part that re-ranks."""

    kind: ClassVar[str] = "joint.reranker"
    noun: ClassVar[str] = "joint re-ranker"

    rerank: str = Field(description="System whose top passages are re-ranked in the evaluation.")
    rerank_depth: int = Field(description="Passages per query that are re-ranked.")
    init: str = Field(description="What it starts from.")
    retriever_init: str = Field(description="What the retriever beside it starts from.")
    lexical_hints: bool = Field(description="Whether BM25's score stands before the passage.")
    max_length: int = Field(description="Longest (query, passage) in tokens.")
    threads: int = Field(description="CPU threads asked for.")
    gpus: int = Field(description="GPUs asked for.")

    def initial(self) -> None:
        """Nothing: the training of both starts it."""

    def weights_from(self) -> str:
        return self.init

    def reads_lexical_index(self) -> bool:
        return self.lexical_hints

    def accepts(self) -> dict[str, tuple[str, ...]]:
        return {"rerank": ("retrieves",)}

    def builds_on(self) -> list[str]:
        return list(dict.fromkeys([self.candidates(), self.init]))

    def about(self) -> str:
        return f"from {self.init}, together with a retriever from {self.retriever_init}, re-ranks the top {self.rerank_depth} of {self.candidates()}"

    def card(self, said: Mapping[str, Any]) -> Card:
        return super().card(said)._replace(method=METHOD)


class Joint(Training, TeacherSettings, SelectingSettings, ReadingSettings):
    """Dynamic listwise distillation: retriever and re-ranker score the same lists, each with a loss of its own (RocketQAv2, sections 3.2 and 3.3)."""

    kind: Literal["joint"]
    trainer: ClassVar[str] = "simlm.training.joint:train"
    noun: ClassVar[str] = "joint training"
    outside: ClassVar[tuple[str, ...]] = ("init", "reranker_init")
    not_trained: ClassVar[tuple[str, ...]] = (*Training.not_trained, *Retriever.afterwards, "rerank", "rerank_depth")
    teacher_scores_all: ClassVar[bool] = True

    init: str = Field(description="What the retriever starts from: a retriever of the graph or another encoder, a Hugging Face id or a local folder.")
    reranker_init: str = Field(description="What the re-ranker starts from: a re-ranker of the graph or an encoder, a Hugging Face id or a local folder.")
    negatives: str = Field(description="System whose top passages make the lists: `bm25` or a retriever.")
    hard_negatives: int = Field(7, ge=1, description="Passages of a list beside its positive (127 in the paper, 7 in its ablation).")
    teacher: str | list[str] | None = Field(
        None,
        description="Re-ranker, late-interaction model or file of scores (`given_scores`) whose scores denoise the lists, or several, whose scores are "
        "averaged; needed for denoised ones.",
    )
    denoise: Denoising | None = Field(None, description="How; null: its defaults where there is a teacher.")
    lists: Literal["undenoised", "denoised", "both"] = Field(
        "undenoised",
        description="`undenoised`: a labelled positive and listed negatives. `denoised`: positives and negatives that the teacher is sure of; "
        "queries that keep fewer than `hard_negatives` of these are left out. `both`, as in the paper: a query is seen with the one and the other "
        "in turn, half of the queries with each in an epoch, so that two epochs are one of the paper's; one without a denoised list keeps the other.",
    )
    kl_direction: Literal["paper", "code"] = Field(
        "paper", description="`paper`: KL(retriever ‖ re-ranker), Equation 4; `code`: KL(re-ranker ‖ retriever), as a student is usually distilled."
    )
    kl_reduction: Literal["list", "passage"] = Field(
        "list", description="The divergence of a list (`list`), or, as the authors' code, divided by the number of its passages (`passage`)."
    )
    kl_gradient: Literal["both", "retriever"] = Field(
        "both",
        description="What the divergence trains: `both`, as the paper says, or the `retriever` alone, as their code does; "
        "the re-ranker then learns from labels only.",
    )
    temperature: float = Field(1.0, gt=0, description="The retriever's scores are divided by this; 1 suits dot products, 0.02 cosines.")
    dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Dropout of the retriever's hidden states and attention while it is trained; null: what the initial model's configuration says.",
    )
    lexical_hints: bool = Field(False, description="The re-ranker reads BM25's score of the pair before the passage; it must start from one that does.")
    rotation: Literal["shuffled", "offset"] = Field("shuffled", description="How positives and negatives change from epoch to epoch.")
    query_length: int = Field(32, ge=4, description="Longest query in tokens.")
    passage_length: int = Field(144, ge=8, description="Longest (title, passage) of the retriever in tokens.")
    max_length: int = Field(192, ge=8, description="Longest (query, passage) of the re-ranker in tokens.")
    untitled: Untitled | None = Field(
        None, description="The re-ranker reads a passage without a title as its `text` alone, or as `-: text` (`dash`); null: as what it starts from."
    )
    rerank: str | None = Field(
        None, description="System whose top passages the re-ranker sorts in the evaluation, such as the retriever beside it; default: that of `negatives`."
    )
    rerank_depth: int = Field(50, ge=1, description="Passages per query that are re-ranked; the others keep their order below them.")
    encoding: Encoding | None = Field(
        None, description="How the retriever embeds the corpus; what is left out, and null, is as in the experiment's `encoding`."
    )
    index: Index | None = Field(None, description="The index of the retriever's vectors; what is left out, and null, is as in the experiment's `index`.")
    holdout: int = Field(
        200,
        ge=0,
        description="Training queries kept out (at most a tenth): the mean reciprocal ranks of both models in their lists are shown beside the curve, and "
        "`keep: best` goes by the mean of the two.",
    )

    @model_validator(mode="after")
    def _sound(self) -> Joint:
        if self.lists != "undenoised" and self.teacher is None:
            raise ValueError(f"lists: {self.lists} needs a 'teacher', the re-ranker whose scores denoise them")
        if self.lists == "undenoised" and (self.teacher or self.denoise):
            raise ValueError("a 'teacher' or 'denoise' only matters for denoised lists; set lists: both or denoised, or leave it out")
        if len(self.teachers()) > 1 and self.denoise and self.denoise.scale == "logit":
            raise ValueError("the average of several teachers is no logit; set denoise: {scale: margin}")
        return self

    def parts(self) -> dict[str, System]:
        reading = {field: getattr(self, field) for field in ("query_length", "passage_length", "encoding", "index")}
        scoring = {field: getattr(self, field) for field in ("rerank_depth", "lexical_hints", "max_length", "threads", "gpus")}
        return {
            "retriever": JointRetriever(init=self.init, reranker_init=self.reranker_init, negatives=self.negatives, **reading),
            "reranker": JointReranker(rerank=self.rerank or self.negatives, init=self.reranker_init, retriever_init=self.init, **scoring),
        }

    def reads_models(self) -> dict[str, str]:
        return {"reranker_init": self.reranker_init, **self.teachers()}

    def reads_negatives(self) -> str | None:
        return self.negatives

    def reads_lexical_index(self) -> bool:
        return self.lexical_hints

    def accepts(self) -> dict[str, tuple[str, ...]]:
        starts = ("pretrained", "encodes")
        return {"init": starts, "reranker_init": (*starts, "scores"), "negatives": ("mined",), **dict.fromkeys(self.teachers(), TEACHERS)}

    def about(self) -> str:
        return f"retriever from {self.init}, re-ranker from {self.reranker_init}, lists from {self.negatives}"

    @property
    def texts(self) -> int:
        # Of either model.
        return 2 * (1 + self.hard_negatives)

    def operations(self, work: Any, name: str) -> float:
        retriever, reranker = f"{name}.retriever", f"{name}.reranker"
        query = work.asking(retriever) + (1 + self.hard_negatives) * (work.encoding(retriever) + work.scoring(reranker))
        return 3 * work.steps(name) * self.batch_size * query + work.looks(name, self) * self.holdout * query
