"""How a model's passages are embedded and searched: ``encoding:`` and ``index:``, of the experiment or of one model."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from simlm.config.base import Block


class Residual(Block):
    """Compressed vectors of tokens and a search in stages: ColBERTv2's residual compression (arXiv 2112.01488), PLAID's candidates (arXiv 2205.09707)."""

    bits: Literal[1, 2, 4] = Field(2, description="Bits per number of what a vector's centroid leaves.")
    centroids: int | None = Field(None, ge=1, description="Centroids; null: the power of two below 16 √vectors.")
    iterations: int = Field(4, ge=1, description="Iterations of k-means.")
    sample: int | None = Field(None, ge=1, description="Passages whose vectors are clustered; null: 1 + 16 √(120 passages).")
    cells: int | None = Field(
        None, ge=1, description="Centroids per vector of a query whose passages are candidates; null: PLAID's for the depth, 1 to 10, 2 to 100, else 4."
    )
    least_score: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="The first look leaves out centroids that are less similar to every vector of the query; null: 0.5, 0.45 or 0.4, as above.",
    )
    candidates: int | None = Field(
        None, ge=1, description="Passages that the first look leaves, of which the second leaves a quarter; null: 256, 1024, or 4 times the depth and 4096."
    )

    searching: ClassVar[set[str]] = {"cells", "least_score", "candidates"}
    """Settings of the search, which do not make another index."""


class Index(Block):
    """The index over the passage vectors: faiss's, or for a model with a vector per token MaxSim with all of them, or with compressed ones."""

    factory: str = Field("Flat", description="faiss factory string; `Flat` is exact.", examples=["IVF1024,SQfp16"])
    train_vectors: int = Field(200_000, ge=1, description="Most vectors from which a trained index learns.")
    nprobe: int | None = Field(None, ge=1, description="Cells visited by an IVF index; null: faiss's default.")
    ef_search: int | None = Field(None, ge=1, description="Candidates kept while an HNSW index is searched; null: faiss's default, 16.")
    residual: Residual | None = Field(None, description="Compressed index of a model with a vector per token; null: all vectors, exactly.")


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
