"""How a model's passages are embedded and searched: ``encoding:`` and ``index:``, of the experiment or of one model."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from simlm.config.base import Block


class Index(Block):
    """The faiss index over the passage vectors."""

    factory: str = Field("Flat", description="faiss factory string; `Flat` is exact.", examples=["IVF1024,SQfp16"])
    train_vectors: int = Field(200_000, ge=1, description="Most vectors from which a trained index learns.")
    nprobe: int | None = Field(None, ge=1, description="Cells visited by an IVF index; null: faiss's default.")
    ef_search: int | None = Field(None, ge=1, description="Candidates kept while an HNSW index is searched; null: faiss's default, 16.")


class Encoding(Block):
    """Embedding of the corpus, in shards."""

    how_not_what: ClassVar[tuple[str, ...]] = ("shards", "batch_size", "threads", "gpus", "processes")
    """Settings on which no result depends."""

    shards: int = Field(2, ge=1, description="Independent jobs; the result does not depend on it.")
    batch_size: int = Field(128, ge=1, description="Passages per forward pass.")
    dtype: Literal["fp32", "fp16"] = Field("fp32", description="Type of the stored vectors.")
    threads: int = Field(8, ge=1, description="CPU threads asked for, per shard.")
    gpus: int = Field(0, ge=0, description="GPUs asked for, per shard.")
    processes: int | None = Field(None, ge=1, description="Processes that share a shard; null: one per GPU, or one on a CPU.")
