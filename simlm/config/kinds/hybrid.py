"""``hybrid``: a dense vector of two parts, [CLS] and the words that a text's tokens speak of (DupMAE, arXiv 2211.08769)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from simlm.config.kinds.base import Card
from simlm.config.kinds.biencoder import BiEncoder

USAGE = """
## Usage

```python
from simlm.hardware import Precision
from simlm.retrieval.hybrid_encoder import HybridEncoder

encoder = HybridEncoder("path/to/this/folder", Precision("fp32", "by hand"))
queries = encoder.queries(["a question"])
passages = encoder.passages(["title of the passage"], ["text of the passage"])
print(queries @ passages.T)
```

Queries have at most {query} and passages {passage} tokens. `simlm embed` writes such vectors of a file of texts.

sentence-transformers has no module for this vector: it takes the largest logits of the language-model head over the tokens and folds them into a few
hundred numbers, and none of its poolings or layers does either. So this folder has none of its files. `AutoModelForMaskedLM` opens the encoder
with its head; what makes vectors of them lies in `two_parts.safetensors` and `simlm.json`.
"""


class Hybrid(BiEncoder):
    """A retriever whose vector has a part of [CLS] and a part of words, the largest logits of a masked language model over all tokens (DupMAE's retriever)."""

    kind: Literal["hybrid"]
    noun: ClassVar[str] = "hybrid retriever"
    format: ClassVar[str] = "hybrid"
    trainer: ClassVar[str] = "simlm.training.hybrid:train"
    embedder: ClassVar[str] = "simlm.retrieval.hybrid_encoder:HybridEncoder"
    reads_words: ClassVar[bool] = True

    temperature: float = Field(1.0, gt=0, description="Scores are divided by this in the losses; inner products are taken as they are.")
    normalize: bool = Field(
        False, description="L2-normalise each of the two parts, so that a score is the sum of two cosines; by default of two inner products, as in the paper."
    )
    cls_dimension: int | None = Field(
        384, ge=1, description="Numbers of the [CLS] part, made of the state of [CLS] by a linear layer without bias; null: the state itself."
    )
    words: int = Field(384, ge=1, description="Words of the vocabulary that are kept of a text: those with the largest logits of any of its tokens but [CLS].")
    word_dimension: int | None = Field(
        768,
        ge=1,
        description="Numbers of the part of words: each word of the vocabulary has one of them and a sign by chance, so that the inner product of two texts' "
        "words is kept in the mean (the paper has an inverted index beside the dense one); null: a number for each word of the vocabulary, without loss.",
    )
    word_activation: Literal["log", "relu", "none"] = Field(
        "log",
        description="What is taken of a word's logit, which the paper leaves open: `log(1 + relu)`, as in SPLADE, whose code its authors point to, `relu`, "
        "or the logit itself.",
    )
    word_weight: float = Field(1.0, gt=0, description="Weight of the words' inner product beside that of [CLS]; the paper has none.")

    @model_validator(mode="after")
    def _two_inner_products(self) -> Hybrid:
        if self.pooling not in (None, "cls"):
            raise ValueError("a hybrid vector is made of [CLS] and of words; leave 'pooling' out")
        if self.similarity == "cosine":
            raise ValueError("the two parts are compared by inner products; leave 'similarity' out, and set normalize: true for the sum of two cosines")
        return self

    def vector_width(self, hidden: int, vocabulary: int) -> int:
        return (self.cls_dimension or hidden) + (self.word_dimension or vocabulary)

    def card(self, said: Mapping[str, Any]) -> Card:
        way = said.get("hybrid_vector", {})
        words, activation = way.get("words", self.words), way.get("word_activation", self.word_activation)
        taken = {"log": "log(1 + relu) of", "relu": "the positive ones of", "none": ""}[activation]
        wide = way.get("word_dimension", self.word_dimension)
        folded = f"folded with chance signs into {wide:,} numbers" if wide else "a number for each word of the vocabulary"
        unit = ", each L2-normalised" if way.get("normalize", self.normalize) else ""
        narrow = way.get("cls_dimension", self.cls_dimension)
        cls = f"the last state of [CLS]{f' made {narrow:,} numbers by a linear layer' if narrow else ''}"
        sentence = (
            f"A hybrid retriever: the embedding of a text has two parts{unit}, {cls}, and {taken + ' ' if taken else ''}the {words:,} largest logits of words "
            f"that any other token has in the language-model head, {folded}. A passage's score is the sum of the two parts' inner products, "
            "which is the inner product of the vectors."
        )
        tags = ("DupMAE", "information-retrieval", "simlm")
        return Card(sentence, "sentence-similarity", tags, usage=USAGE, method="DupMAE, arXiv 2211.08769")
