"""The ``corpus:`` block: where passages, queries and judgements come from."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from simlm.config.base import Block
from simlm.errors import nearest


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


class ExpectedCounts(Block):
    """Counts that the source must have, before anything is left out; another count is refused."""

    passages: int | None = Field(None, ge=1, description="Passages; null: the known count of the collection, if there is one.")
    queries: dict[str, int] = Field(
        {}, description="Judged queries by split of the source; a split that is not named has its known count, if there is one.", examples=[{"dev": 6980}]
    )


class Generator(Block):
    """A sequence-to-sequence model that writes queries for a passage, such as doc2query's T5; it samples each token from the likeliest ones."""

    init: str = Field(description="The model: a Hugging Face id or a local folder, with its tokenizer.", examples=["doc2query/msmarco-t5-base-v1"])
    per_passage: int = Field(3, ge=1, description="Queries that are drawn for a passage; the same query twice is one.")
    top_k: int = Field(10, ge=1, description="Each token is drawn from so many likeliest ones; 1: always the likeliest.")
    prompt: str = Field("", description="Written before every passage, if the model was trained so.")
    passage_length: int = Field(256, ge=8, description="Tokens that the model reads of title and text.")
    query_length: int = Field(32, ge=4, description="Most tokens of a query.")
    batch_tokens: int = Field(8192, ge=64, description="Tokens, padding included, that are read at once.")
    threads: int = Field(8, ge=1, description="CPU threads asked for; never more than the machine has.")
    gpus: int = Field(0, ge=0, le=1, description="GPUs asked for.")


class MadeQueries(Block):
    """Training queries out of the passages themselves, for a corpus without any; judged splits stay as they are."""

    query: Literal["title", "first_sentence", "generated"] = Field(
        "title",
        description="What the query of a passage is: its `title`, its `first_sentence`, or `generated` by a model. The passage that is indexed keeps title and "
        "sentence; `hide_query` of a retriever takes them out of what a training sees.",
    )
    generator: Generator | None = Field(None, description="The model that writes queries, for `query: generated`.")
    parts: dict[str, float] = Field(
        {"train": 0.95, "made_dev": 0.05},
        description="Splits that the queries go into, and the share of each; a hash of the passage's id decides. They must not be splits of the source.",
    )
    passages: int | None = Field(100_000, ge=1, description="Make queries of at most so many passages, chosen by a hash of the id; null: of all.")
    words: tuple[int, int] = Field((3, 40), description="Fewest and most words of a query.")
    found_within: int | None = Field(
        3, ge=1, description="Round trip: a query is kept only if BM25 finds its own passage among so many; null: every query is kept."
    )

    @model_validator(mode="after")
    def _sound(self) -> MadeQueries:
        if not self.parts or any(share <= 0 for share in self.parts.values()) or abs(sum(self.parts.values()) - 1) > 1e-6:
            raise ValueError("parts: the shares must be positive and add up to 1")
        if not 1 <= self.words[0] <= self.words[1]:
            raise ValueError(f"words: the fewest ({self.words[0]}) must be at least 1 and not more than the most ({self.words[1]})")
        if (self.query == "generated") != (self.generator is not None):
            raise ValueError("'query: generated' needs a 'generator', and only that reads one; give both or neither")
        return self


class CorpusBlock(Block):
    """What every source shares."""

    expected: ExpectedCounts = Field(
        ExpectedCounts(),
        description="Counts that the source must have. Those of published collections are known (`simlm/corpus/counts.yaml`) and need not be given.",
    )

    max_passages: int | None = Field(
        None,
        ge=10,
        description="Keep only this many passages, chosen by a hash of the id, those judged for the kept queries first; for trials.",
    )
    max_queries: dict[str, int] = Field(
        {}, description="Keep at most so many queries of a split, chosen by a hash of the id, before passages are chosen.", examples=[{"test": 2000}]
    )
    exclude_query: Literal["auto"] | bool | dict[str, bool] = Field(
        "auto",
        description="Leave the passage whose id is the query's out of its results, negatives and positives, as BEIR does for ArguAna and Quora. `auto`: in "
        "splits most of whose queries are passages of the corpus (the same id and, where ids are numbers, the same words); names of splits set it for each.",
        examples=[{"test": True}],
    )
    partition: Partition | None = Field(None, description="For collections with one set of queries: cut it into parts, which take the place of the split.")
    made_queries: MadeQueries | None = Field(
        None, description="Make training queries of the passages, for a corpus that has none (docs/own-data.md says what they are worth)."
    )

    def source_splits(self) -> list[str]:
        """Splits that the source itself has."""
        raise NotImplementedError

    def has_judgements(self, split: str) -> bool:
        """Whether passages are judged for the queries of a split."""
        return True

    def has_answers(self, split: str) -> bool:
        """Whether the queries of a split are questions that come with answers."""
        return False

    def source_of(self, split: str) -> str:
        """The split of the source that a split of the store is cut from, or is."""
        return self.partition.of if self.partition and split in self.partition.parts else split

    def prepared_splits(self) -> list[str]:
        """Splits that are read: those of the source, the one that is cut replaced by its parts."""
        if not self.partition:
            return self.source_splits()
        return [*(name for name in self.source_splits() if name != self.partition.of), *self.partition.parts]

    def split_names(self) -> list[str]:
        """Splits of the corpus store: those that are read, and those whose queries are made."""
        return [*self.prepared_splits(), *(self.made_queries.parts if self.made_queries else ())]

    @model_validator(mode="after")
    def _known_splits(self) -> CorpusBlock:
        source, partition = self.source_splits(), self.partition
        if partition and partition.of not in source:
            raise ValueError(f"partition.of: there is no split '{partition.of}'{nearest(partition.of, source)} (there are {', '.join(source)})")
        if partition and (double := sorted(set(partition.parts) & {name for name in source if name != partition.of})):
            raise ValueError(f"partition.parts: '{double[0]}' is also the name of a split; choose another")
        for name, most in self.max_queries.items():
            if name not in (there := self.prepared_splits()):
                raise ValueError(f"max_queries: there is no split '{name}'{nearest(name, there)} (there are {', '.join(there)})")
            if most < 1:
                raise ValueError(f"max_queries: '{name}' must keep at least 1 query, not {most}")
        for name in self.exclude_query if isinstance(self.exclude_query, dict) else ():
            if name not in (there := self.prepared_splits()):
                raise ValueError(f"exclude_query: there is no split '{name}'{nearest(name, there)} (there are {', '.join(there)})")
        if double := sorted(set(self.made_queries.parts if self.made_queries else ()) & set(self.prepared_splits())):
            raise ValueError(f"made_queries.parts: '{double[0]}' is also a split of the source; give the made queries another name")
        for name in self.expected.queries:
            if name not in source:
                raise ValueError(f"expected.queries: there is no split '{name}'{nearest(name, source)} (there are {', '.join(source)})")
        for name in self.split_names():
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                raise ValueError(f"the split name '{name}' becomes a file name; use letters, digits, '_' and '-'")
        return self


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

    def source_splits(self) -> list[str]:
        return list(self.parts)

    @model_validator(mode="after")
    def _shares(self) -> PythonDocs:
        if any(share <= 0 for share in self.parts.values()) or abs(sum(self.parts.values()) - 1) > 1e-6:
            raise ValueError("parts: the shares must be positive and add up to 1")
        if self.query_words[0] > self.query_words[1]:
            raise ValueError(f"query_words: the fewest ({self.query_words[0]}) must not be more than the most ({self.query_words[1]})")
        return self


WITH_ANSWERS = "dpr-w100"
"""The collection of ir_datasets whose queries are questions with answers: DPR's Wikipedia, with Natural Questions and TriviaQA."""


class IrDatasets(CorpusBlock):
    """A collection of ir_datasets (https://ir-datasets.com)."""

    source: Literal["ir_datasets"]
    passages: str = Field(description="Id whose documents are the corpus.", examples=["msmarco-passage"])
    splits: dict[str, str] = Field(
        min_length=1, description="Split name → ir_datasets id with queries and qrels.", examples=[{"train": "msmarco-passage/train/judged"}]
    )
    questions: dict[str, str] = Field(
        {},
        description="Split name → questions with answers instead of judgements: a file as DPR's `nq-test.qa.csv` (question, tab, list of answers), "
        "local or an address, which is fetched into the folder `questions` of ir_datasets' home.",
        examples=[{"test": "https://dl.fbaipublicfiles.com/dpr/data/retriever/nq-test.qa.csv"}],
    )
    titles: Literal["none", "rocketqa"] = Field(
        "none",
        description="`none` keeps the collection's own titles (MS MARCO has none); `rocketqa` adds those of `title_dataset` by passage id, as SimLM, "
        "coCondenser and RocketQA do for MS MARCO.",
    )
    title_dataset: str = Field(
        "Tevatron/msmarco-passage-corpus",
        description="Where the titles of `rocketqa` come from: a Hugging Face data set (`owner/name` or `owner/name@revision`) or a local folder, with the "
        "columns `docid` and `title`.",
    )

    def source_splits(self) -> list[str]:
        return [*self.splits, *self.questions]

    def has_judgements(self, split: str) -> bool:
        return self.source_of(split) not in self.questions

    def has_answers(self, split: str) -> bool:
        source = self.source_of(split)
        return source in self.questions or self.splits.get(source, "").startswith(f"{WITH_ANSWERS}/")

    @model_validator(mode="after")
    def _each_split_once(self) -> IrDatasets:
        if double := sorted(set(self.splits) & set(self.questions)):
            raise ValueError(f"questions: '{double[0]}' is also one of 'splits'; choose another name")
        return self

    def title_source(self) -> str | None:
        """The data set that the titles are taken from, or None."""
        return None if self.titles == "none" else self.title_dataset


class BeirFolder(CorpusBlock):
    """A folder in BEIR layout: corpus.jsonl[.gz], queries.jsonl[.gz], qrels/<split>.tsv."""

    source: Literal["beir"]
    path: str = Field(description="The folder; relative paths start where the command runs.")
    splits: dict[str, str] = Field(
        min_length=1, description="Split name → file name below qrels/, without .tsv.", examples=[{"train": "train", "test": "test"}]
    )

    def source_splits(self) -> list[str]:
        return list(self.splits)


class HubDataset(CorpusBlock):
    """A Hugging Face data set in BEIR's layout (configurations `corpus` and `queries`, qrels beside or in an own id)."""

    source: Literal["hub"]
    id: str = Field(description="Hugging Face id, or a local folder of the same layout.", examples=["BeIR/scifact"])
    revision: str | None = Field(None, description="Commit or tag of the data set.")
    passages: str = Field("corpus", description="Configuration that holds the passages.")
    queries: str = Field("queries", description="Configuration that holds the queries.")
    qrels: str | None = Field(None, description="Id of the data set of judgements; default: `<id>-qrels`.")
    splits: dict[str, str] = Field(min_length=1, description="Split name → split of the qrels data set.", examples=[{"train": "train", "test": "test"}])

    def source_splits(self) -> list[str]:
        return list(self.splits)


Corpus = Annotated[PythonDocs | IrDatasets | BeirFolder | HubDataset, Field(discriminator="source")]
