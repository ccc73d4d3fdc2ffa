"""``late_interaction``: a vector per token, compared token by token; and ``given_late_interaction``, a published one that is judged as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from simlm.config.base import Block
from simlm.config.kinds.base import Card, Training
from simlm.config.kinds.given import GivenModel
from simlm.config.kinds.roles import ListTrained, Retriever
from simlm.config.kinds.selecting import SelectingSettings
from simlm.config.kinds.teaching import TEACHERS, DistillingSettings

_OWN = "null: what `init` says of itself"

USAGE = """
## Usage

```python
from sentence_transformers import MultiVectorEncoder

model = MultiVectorEncoder("path/to/this/folder")
queries = model.encode_query(["a question"])
passages = model.encode_document(["text of the passage"])
print(model.similarity(queries, passages))
```

`encode_query` and `encode_document` write the markers; queries have {query} and passages at most {passage} tokens.
"""

MAXSIM = (
    "every vector of the query looks for the passage's most similar one, and the sum of these cosines is the score (MaxSim). "
    "Queries begin with {query_marker} and passages with {passage_marker} behind [CLS]."
)


class TokenReadingSettings(Block):
    """How texts become vectors of tokens; null by default, because a model is read in the way that its weights were trained for."""

    query_marker: str | None = Field(
        None, min_length=1, description=f"Token behind [CLS] of every query; one that the vocabulary lacks is added to it. {_OWN}, else `[unused0]`."
    )
    passage_marker: str | None = Field(None, min_length=1, description=f"Token behind [CLS] of every passage. {_OWN}, else `[unused1]`.")
    augmentation: Literal["unattended", "attended", "none"] | None = Field(
        None,
        description="Queries are filled up to `query_length` with [MASK], whose vectors count: `unattended` masks read the query without being read by it, "
        f"`attended` ones are tokens like others; `none`: a query has its own tokens. {_OWN}, else `unattended`.",
    )
    skip_punctuation: bool | None = Field(None, description=f"Leave out the vectors of a passage's punctuation marks. {_OWN}, else true.")
    title: Literal["pair", "joined", "none"] | None = Field(
        None,
        description=f"A passage is the pair (title, text), both joined by a space, or the text alone (`none`). {_OWN}, else `none`, as in the paper.",
    )


class TokenRetriever(Retriever):
    """A retriever with a vector per token."""

    noun: ClassVar[str] = "late interaction"
    format: ClassVar[str] = "late_interaction"
    ragged: ClassVar[bool] = True
    scores: ClassVar[bool] = True
    embedder: ClassVar[str] = "simlm.retrieval.token_encoder:TokenEncoder"
    scorer: ClassVar[str] = "simlm.models.token_scorer:TokenScorer"
    _rest: ClassVar[tuple[str, ...]] = ("hard_negatives", "epochs", "steps", "batch_size", "learning_rate", "in_batch_weight", "dropout")

    def reads_titles(self) -> bool:
        return getattr(self, "title", None) not in (None, "none")

    def card(self, said: Mapping[str, Any]) -> Card:
        way = said.get("token_reading", said)
        markers = {name: way.get(name) or default for name, default in (("query_marker", "[unused0]"), ("passage_marker", "[unused1]"))}
        sentence = f"A late-interaction retriever: a vector per token, L2-normalised; {MAXSIM.format(**markers)}"
        tags = ("sentence-transformers", "multi-vector", "ColBERT", "information-retrieval", "simlm")
        return Card(sentence, "feature-extraction", tags, "sentence-transformers", USAGE, "ColBERTv2, arXiv 2112.01488")


class LateInteraction(ListTrained, Training, DistillingSettings, SelectingSettings, TokenReadingSettings, TokenRetriever):
    """Late interaction (ColBERTv2, arXiv 2112.01488): distilled from a re-ranker's scores of whole lists, or trained on hard negatives; MaxSim scores."""

    kind: Literal["late_interaction"]
    trainer: ClassVar[str] = "simlm.training.late_interaction:train"
    not_trained: ClassVar[tuple[str, ...]] = (*Training.not_trained, *Retriever.afterwards)

    init: str = Field(description="Where the encoder starts: a model of the graph, a Hugging Face id or a local folder; one with a projection brings it along.")
    negatives: str | None = Field(
        None, description="System whose top passages give the hard negatives: `bm25` or a retriever; null: only the other queries' passages."
    )
    hard_negatives: int = Field(63, ge=0, description="Hard negatives per query and step; with the positive the paper's 64-way lists.")
    temperature: float = Field(1.0, gt=0, description="MaxSim scores are divided by this in the losses; the paper takes them as they are.")
    list_weight: float = Field(1.0, ge=0, description="Weight of the loss over a query's own list: the teacher's, or the positive's cross-entropy.")
    in_batch_weight: float = Field(
        1.0, ge=0, description="Weight of the cross-entropy of a query's positive among all passages of the other queries of the batch; 0 leaves it out."
    )
    rotation: Literal["shuffled", "offset"] = Field(
        "shuffled", description="How positives and negatives change from epoch to epoch: a seeded shuffle per query, or SimLM's common offset."
    )
    dropout: float | None = Field(
        None, ge=0, lt=1, description="Dropout of hidden states and attention while this model is trained; null: what the initial model's configuration says."
    )
    dimension: int | None = Field(None, ge=1, description=f"Numbers per vector: width of the linear layer over the states, without bias. {_OWN}, else 128.")
    query_length: int = Field(32, ge=4, description="Tokens of a query, marker included: its own, cut, and with `augmentation` masks up to this length.")
    passage_length: int = Field(180, ge=8, description="Longest passage in tokens, marker included.")

    @model_validator(mode="after")
    def _loss(self) -> LateInteraction:
        listed = self.negatives is not None and self.hard_negatives > 0 and self.list_weight > 0
        if not listed and not self.in_batch_weight:
            raise ValueError("without listed negatives (negatives, hard_negatives, list_weight) and with in_batch_weight 0 nothing is left to train")
        if self.query_marker is not None and self.query_marker == self.passage_marker:
            raise ValueError("'query_marker' and 'passage_marker' must differ, or queries and passages would be read alike")
        return self

    def accepts(self) -> dict[str, tuple[str, ...]]:
        return {"init": ("pretrained", "encodes"), "negatives": ("mined",), **dict.fromkeys(self.teachers(), TEACHERS)}


class GivenLateInteraction(GivenModel, TokenReadingSettings, TokenRetriever):
    """A published late-interaction retriever in the layout of ColBERT's own code (`artifact.metadata`), read as it says of itself."""

    kind: Literal["given_late_interaction"]
    noun: ClassVar[str] = "given late interaction"
    trainer: ClassVar[str] = "simlm.models.given_late_interaction:take_over"
    not_trained: ClassVar[tuple[str, ...]] = (*GivenModel.not_trained, *Retriever.afterwards)

    dimension: ClassVar[None] = None
    query_length: int | None = Field(None, ge=4, description="Tokens of a query, marker included; null: what the model says of itself, else 32.")
    passage_length: int | None = Field(None, ge=8, description="Longest passage in tokens, marker included; null: what the model says of itself, else 180.")
