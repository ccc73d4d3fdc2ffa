"""Roles that several kinds have in common: what is asked of a kind that embeds, scores or fuses, and how it is described.

The stage that a role names reads these of the block, beside what :class:`~simlm.config.kinds.base.System` declares:

=============  ==========================================
``runs_by``    reads
=============  ==========================================
search_index   ``query_length``, ``passage_length``
rerank         ``candidates()``, ``rerank_depth``, ``threads``, ``gpus``
fuse           ``of``, ``k``, ``weights``
=============  ==========================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from simlm.config.embedding import Encoding, Index
from simlm.config.kinds.base import Card, System
from simlm.config.kinds.usage import AS_SAID, EMBEDDING, HINTED, MASKED, PAIRS


class Pretrained(System):
    """A language model that others start from; it does not retrieve."""

    noun: ClassVar[str] = "language model"
    format: ClassVar[str] = "mlm"
    pretrained: ClassVar[bool] = True

    def card(self, said: Mapping[str, Any]) -> Card:
        return Card("A language model.", "fill-mask", ("simlm",), usage=MASKED)


OWN_WAY = {"pooling": "cls", "normalised": True, "similarity": "cosine", "query_prompt": "", "passage_prompt": "", "title": "pair"}
"""How SimLM's retrievers read, as ``simlm.json`` says it (paper, section 3.2)."""

_POOLED = {
    "cls": "last hidden state of its first token",
    "max": "largest last hidden state of its tokens, number by number",
    "mean": "mean of the last hidden states of its tokens",
    "mean_sqrt_len_tokens": "sum of the last hidden states of its tokens over the square root of their number",
    "weightedmean": "mean of the last hidden states of its tokens, later ones counting more",
    "lasttoken": "last hidden state of its last token",
}


def _embedding(said: Mapping[str, Any]) -> str:
    """How a text becomes a vector, and two vectors a score, in sentences.

    >>> _embedding({})
    "The embedding of a text is the last hidden state of its first token, L2-normalised; a passage's score is the inner product of the two embeddings."
    >>> _embedding({"pooling": "mean", "normalised": False, "query_prompt": "query: ", "title": "joined"})[-76:]
    "Queries are read after the prompt 'query: '. Title and text are read as one."
    """
    way = OWN_WAY | {name: said[name] for name in OWN_WAY if name in said}
    modes = [way["pooling"]] if isinstance(way["pooling"], str) else way["pooling"]
    pooled = " and the ".join(_POOLED.get(mode, mode) for mode in modes)
    layers = "through the layers beside the weights, " if said.get("between") else ""
    length = "L2-normalised" if way["normalised"] else "not normalised"
    sentences = [f"The embedding of a text is the {pooled}, {layers}{length}; a passage's score is the inner product of the two embeddings."]
    sentences += [f"{what} are read after the prompt {way[key]!r}." for what, key in (("Queries", "query_prompt"), ("Passages", "passage_prompt")) if way[key]]
    titles = {"joined": "Title and text are read as one.", "separated": "Title and text are read as one, [SEP] between them.", "none": "Titles are not read."}
    sentences += [titles[way["title"]]] if way["title"] in titles else []
    return " ".join(sentences)


class Retriever(System):
    """A model that embeds queries and passages; its index is searched, also for hard negatives."""

    noun: ClassVar[str] = "dense retriever"
    shape: ClassVar[tuple[str, str]] = ("(", ")")
    format: ClassVar[str] = "biencoder"
    encodes: ClassVar[bool] = True
    mined: ClassVar[bool] = True
    runs_by: ClassVar[str] = "search_index"
    ragged: ClassVar[bool] = False
    """Whether a text has a vector per token instead of one, so that its index is another."""
    embedder: ClassVar[str] = "simlm.retrieval.encoder:TextEncoder"
    """``module:class`` that opens the model's folder for embedding: called with the folder, the precision and the batch size."""
    afterwards: ClassVar[tuple[str, ...]] = ("encoding", "index")
    """Blocks that only matter when the model is trained; they belong to ``not_trained``."""
    compared_by: ClassVar[tuple[str, ...]] = ("init", "negatives", "teacher")

    encoding: Encoding | None = Field(None, description="How this model embeds the corpus; what is left out, and null, is as in the experiment's `encoding`.")
    index: Index | None = Field(None, description="The index of this model's vectors; what is left out, and null, is as in the experiment's `index`.")

    reads_words: ClassVar[bool] = False
    """Whether its vectors are made of the logits that every token has for all words, so that its embeddings cost these as well."""

    def vector_width(self, hidden: int, vocabulary: int) -> int:
        """Numbers of a text's vector, where it is not the state of ``hidden`` numbers itself."""
        return hidden

    def builds_on(self) -> list[str]:
        return [start] if (start := self.initial()) else []

    def change(self, against: str, other: System, systems: Mapping[str, System]) -> str:
        if not other.encodes:
            return f"a {self.noun} instead of {other.noun}"
        parts = []
        for field, old, new in _differences(self, other, self.compared_by):
            if field == "init":
                noun = f" ({systems[new].noun})" if new in systems and systems[new].pretrained else ""
                parts.append(f"starts from {new}{noun} instead of {old}")
            elif field == "negatives":
                parts.append(f"hard negatives from {new or 'the batch alone'} instead of {old or 'the batch alone'}")
            elif field == "teacher":
                parts.append(f"distils {_named(new)}" if new else f"without the teacher {_named(old)}")
            else:
                parts.append(f"{field} {_short(old)} → {_short(new)}")
        return "; ".join(parts)

    def shortfall(self, name: str, against: str) -> str:
        rate, place = getattr(self, "learning_rate", None), f"models.{name}"
        if rate is None:
            return f"look at how {place} reads (pooling, prompts, titles, lengths)"
        return (
            f"usually the rate is too high for a start that retrieves (2e-5 is usual, {place}.learning_rate is {rate:g}), the training queries are few, "
            "or a pre-training in between has undone what the start knew; lower the rate, train fewer epochs, or start from the finished retriever itself"
        )

    def card(self, said: Mapping[str, Any]) -> Card:
        sentence = f"A bi-encoder (dense retriever): one encoder for queries and passages. {_embedding(said)}"
        own = all(said.get(name, value) == value for name, value in OWN_WAY.items()) and not said.get("between")
        examples = {"pair": '("title", "text of the passage")', "separated": '"title [SEP] text of the passage"'}
        example = examples.get(said.get("title", "pair"), '"title and text of the passage"')
        usage = EMBEDDING if own else AS_SAID.replace("{example}", example)
        return Card(sentence, "sentence-similarity", ("sentence-transformers", "information-retrieval", "simlm"), "sentence-transformers", usage)


class ListTrained(System):
    """What retrievers share that are trained on a positive and mined negatives of each query, with a teacher or without.

    Their settings are `init`, `negatives`, `hard_negatives` and those of a teacher (:mod:`simlm.config.kinds.teaching`).
    """

    def reads_models(self) -> dict[str, str]:
        return self.teachers()

    def reads_negatives(self) -> str | None:
        return self.negatives

    def about(self) -> str:
        parts = [f"from {self.init}", f"negatives from {' and '.join(self.mined_from().values()) or 'the batch'}"]
        return ", ".join([*parts, *(f"teacher {name}" for name in self.reads_models().values())])

    @property
    def texts(self) -> int:
        # The query beside them is short.
        return 1 + (self.hard_negatives if self.negatives else 0)

    def operations(self, work: Any, name: str) -> float:
        return work.contrastive(name, self)


class Reranker(System):
    """A model that reads a query and a passage together and re-orders what another system found."""

    noun: ClassVar[str] = "re-ranker"
    shape: ClassVar[tuple[str, str]] = ("{{", "}}")
    format: ClassVar[str] = "crossencoder"
    scores: ClassVar[bool] = True
    runs_by: ClassVar[str] = "rerank"
    scorer: ClassVar[str] = "simlm.models.crossencoder:PairScorer"
    """``module:class`` whose ``open(folder, precision)`` opens what scores; whatever ``scores`` has one."""

    def sorter(self, name: str) -> str:
        """The model that sorts for the system called ``name``: itself, unless it borrows one."""
        return name

    def candidates(self) -> str:
        """The system whose runs are re-ranked."""
        return self.rerank

    def reads_runs(self) -> dict[str, str]:
        return {"rerank": self.candidates()}

    def change(self, against: str, other: System, systems: Mapping[str, System]) -> str:
        if against == self.candidates():
            return f"its top {self.rerank_depth} re-ranked by a cross-encoder"
        return f"the top {self.rerank_depth} of {self.candidates()} re-ranked by a cross-encoder"

    def shortfall(self, name: str, against: str) -> str:
        place = f"models.{name}"
        if against == self.candidates():
            return (
                f"usually a re-ranker has seen too few training queries to know more than the list it sorts; train it longer, lower {place}.rerank_depth "
                f"({self.rerank_depth}), take a published one (given_crossencoder), or leave it out"
            )
        return f"a teacher below its student hands its own mistakes on; train {place} longer, or leave {against}'s teacher out"

    def card(self, said: Mapping[str, Any]) -> Card:
        sentence = "A cross-encoder (re-ranker): it reads a query and a passage together and gives one logit, the higher the more relevant."
        hinted = self.reads_lexical_index()
        usage = PAIRS.replace("{hint}", "57 " if hinted else "") + (HINTED if hinted else "")
        return Card(sentence, "text-ranking", ("reranker", "information-retrieval", "simlm"), usage=usage)


class Fused(System):
    """A system that merges the runs of others; it has no model."""

    noun: ClassVar[str] = "fusion"
    shape: ClassVar[tuple[str, str]] = ("([", "])")
    runs_by: ClassVar[str] = "fuse"

    def reads_runs(self) -> dict[str, str]:
        return {f"of[{i}]": name for i, name in enumerate(self.of)}

    def accepts(self) -> dict[str, tuple[str, ...]]:
        return dict.fromkeys(self.reads_runs(), ("retrieves",))

    def shortfall(self, name: str, against: str) -> str:
        return f"usually its parts are of unequal strength but count the same; set models.{name}.weights: auto, or leave the weaker out of its `of`"

    def change(self, against: str, other: System, systems: Mapping[str, System]) -> str:
        return f"{self.noun} with {' and '.join(name for name in self.of if name != against)}"


def _differences(new: System, old: System, fields: tuple[str, ...]) -> list[tuple[str, Any, Any]]:
    pairs = [(field, getattr(old, field, None), getattr(new, field, None)) for field in fields]
    return [(field, one, other) for field, one, other in pairs if one != other]


def other_settings(new: System, old: System) -> list[str]:
    """What else differs between two systems of one role than :meth:`System.change` says: every setting that both have and that changes results.

    >>> from simlm.config.kinds.fusion import Fusion
    >>> other_settings(Fusion(kind="fusion", of=["a", "b"], k=10), Fusion(kind="fusion", of=["a", "b"]))
    ['k 60 → 10']
    """
    said = {"kind", "of", *new.compared_by, *getattr(new, "not_trained", ())}
    both = tuple(field for field in type(new).model_fields if field in type(old).model_fields and field not in said)
    return [f"{field} {_short(before)} → {_short(after)}" for field, before, after in _differences(new, old, both)]


def relatedness(system: System, other: System) -> int:
    """Number of fields of ``compared_by`` in which two systems differ."""
    return len(_differences(system, other, system.compared_by))


def _named(names: str | list[str]) -> str:
    return names if isinstance(names, str) else " and ".join(names)


def _short(value: Any) -> str:
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
