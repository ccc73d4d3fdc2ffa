"""The ``corpus:`` block: where passages, queries and judgements come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from simlm.config.base import Block


class Partition(Block):
    """Cuts one set of queries into several by a hash of the query id: same id, same part, on every machine."""

    of: str = Field(description="The split to cut, one of the keys of `splits`.")
    parts: dict[str, float] = Field(
        description="Name and share of each part, in order; the shares add up to 1.",
        examples=[{"train": 0.8, "dev": 0.1, "test": 0.1}],
    )

    @model_validator(mode="after")
    def _shares(self) -> Partition:
        if any(share <= 0 for share in self.parts.values()) or abs(sum(self.parts.values()) - 1) > 1e-6:
            raise ValueError("the shares must be positive and add up to 1")
        return self


class CorpusBlock(Block):
    """What every source shares."""

    max_passages: int | None = Field(None, ge=10, description="Keep only this many passages, chosen by a hash of the id (judged ones first); for trials.")
    max_queries: dict[str, int] = Field({}, description="Keep at most so many queries of a split, chosen by a hash of the id.", examples=[{"test": 2000}])
    partition: Partition | None = Field(None, description="For collections with one set of queries: cut it into parts.")


class PythonDocs(CorpusBlock):
    """Docstrings of installed Python packages: first paragraph = query, rest = passage, qualified name = title."""

    source: Literal["python_docs"]
    packages: list[str] = Field(min_length=1, description="Distribution names whose sources are read with `ast`; nothing is imported.")
    parts: dict[str, float] = Field({"train": 0.8, "dev": 0.1, "test": 0.1}, description="Share of each split; a hash of the qualified name decides.")
    title: Literal["name", "module", "none"] = Field(
        "name", description="Title of a passage: the qualified name, its module's path alone (a harder task), or none."
    )
    query_words: tuple[int, int] = Field((4, 30), description="Fewest and most words of a query.")
    passage_words: int = Field(25, ge=1, description="Fewest words of a passage.")

    def split_names(self) -> list[str]:
        return list(self.parts)


class IrDatasets(CorpusBlock):
    """A collection of ir_datasets (https://ir-datasets.com)."""

    source: Literal["ir_datasets"]
    passages: str = Field(description="Id whose documents are the corpus.", examples=["msmarco-passage"])
    splits: dict[str, str] = Field(
        min_length=1, description="Split name → ir_datasets id with queries and qrels.", examples=[{"train": "msmarco-passage/train/judged"}]
    )
    titles: str = Field(
        "none",
        description="`none` keeps the collection's own titles; a Hugging Face data set id adds titles by passage id (the RocketQA title-augmented corpus).",
    )

    def split_names(self) -> list[str]:
        return [*self.splits, *(self.partition.parts if self.partition else ())]


class BeirFolder(CorpusBlock):
    """A folder in BEIR layout: corpus.jsonl[.gz], queries.jsonl[.gz], qrels/<split>.tsv."""

    source: Literal["beir"]
    path: str = Field(description="The folder; relative paths start where the command runs.")
    splits: dict[str, str] = Field(
        min_length=1, description="Split name → file name below qrels/, without .tsv.", examples=[{"train": "train", "test": "test"}]
    )

    def split_names(self) -> list[str]:
        return [*self.splits, *(self.partition.parts if self.partition else ())]


class HubDataset(CorpusBlock):
    """A Hugging Face data set in BEIR's layout (configurations `corpus` and `queries`, qrels beside or in an own id)."""

    source: Literal["hub"]
    id: str = Field(description="Hugging Face id, or a local folder of the same layout.", examples=["BeIR/scifact"])
    revision: str | None = Field(None, description="Commit or tag of the data set.")
    passages: str = Field("corpus", description="Configuration that holds the passages.")
    queries: str = Field("queries", description="Configuration that holds the queries.")
    qrels: str | None = Field(None, description="Id of the data set of judgements; default: `<id>-qrels`.")
    splits: dict[str, str] = Field(min_length=1, description="Split name → split of the qrels data set.", examples=[{"train": "train", "test": "test"}])

    def split_names(self) -> list[str]:
        return [*self.splits, *(self.partition.parts if self.partition else ())]


Corpus = Annotated[PythonDocs | IrDatasets | BeirFolder | HubDataset, Field(discriminator="source")]
