"""How a retriever reads: settings that trained and published ones have in common."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from simlm.config.base import Block

Pooling = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]

_OWN = "null: what `init` says of itself (`simlm.json`, or sentence-transformers' `modules.json`)"


class ReadingSettings(Block):
    """Each of them null by default: a model is read in the way that its weights were trained for."""

    pooling: Pooling | list[Pooling] | None = Field(
        None, description=f"States of the last layer that make the vector; a list joins several. {_OWN}, else `cls`.", examples=["mean", ["cls", "mean"]]
    )
    normalize: bool | None = Field(None, description=f"L2-normalise the vectors. {_OWN}, else true; cosine needs it.")
    similarity: Literal["cosine", "dot"] | None = Field(None, description=f"How a query and a passage are compared. {_OWN}, else `cosine`.")
    query_prompt: str | None = Field(None, description=f"Written before every query. {_OWN}, else nothing.", examples=["query: "])
    passage_prompt: str | None = Field(None, description=f"Written before every passage. {_OWN}, else nothing.", examples=["passage: "])
    title: Literal["pair", "joined", "separated", "none"] | None = Field(
        None,
        description="A passage is the `pair` (title, text) with `-` for an absent title, title and text `joined` by a space, `separated` "
        "by [SEP] as one text without token types and with the same `-` (coCondenser's retriever), or the text alone (`none`); "
        "null: what `init` says of itself, `joined` where only a `modules.json` of sentence-transformers speaks, else `pair`.",
    )

    @field_validator("pooling")
    @classmethod
    def _once(cls, pooling: list[str] | str | None) -> list[str] | str | None:
        if isinstance(pooling, list) and (not pooling or len(set(pooling)) < len(pooling)):
            raise ValueError("name at least one pooling, and each once")
        return pooling

    @model_validator(mode="after")
    def _cosine(self) -> ReadingSettings:
        if self.similarity == "cosine" and self.normalize is False:
            raise ValueError("cosine is the inner product of normalised vectors; leave 'normalize' out, or set similarity: dot")
        return self
