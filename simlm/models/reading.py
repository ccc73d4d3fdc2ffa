"""How a bi-encoder reads: what is written around a text before it becomes tokens, and which of the token's states make the vector.

It stands in ``simlm.json`` of every model. A start or a published model keeps its own way of reading unless the configuration says
otherwise (:func:`reading_of`), because a vector made in another way than the weights were trained for is a wrong one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simlm.errors import UserError
from simlm.models.text import ABSENT_TITLE, Tokens, tokenize_passages, tokenize_queries

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
"""Modes of pooling, in the order in which sentence-transformers joins several that a folder merely switches on."""

TITLES, SIMILARITIES = ("pair", "joined", "separated", "none"), ("cosine", "dot")


@dataclass(frozen=True)
class Reading:
    """How a bi-encoder reads; the defaults are SimLM's (paper, section 3.2).

    Attributes
    ----------
    pooling
        Names from :data:`POOLINGS`; the vectors of several stand one behind the other.
    normalize
        Whether vectors are L2-normalised.
    similarity
        ``cosine`` or ``dot``. Passages are found by inner products, so that cosine asks for normalised vectors.
    query_prompt, passage_prompt
        Written before every query, every passage.
    title
        A passage is the ``pair`` (title, text) with ``-`` for an absent title, title and text ``joined`` by a space, the same two
        ``separated`` by [SEP] as one text without token types, or the text alone (``none``).
    prompts
        Name and text of prompts for other uses than retrieval, such as clustering: handed on, and never read here.
    """

    pooling: tuple[str, ...] = ("cls",)
    normalize: bool = True
    similarity: str = "cosine"
    query_prompt: str = ""
    passage_prompt: str = ""
    title: str = "pair"
    prompts: tuple[tuple[str, str], ...] = dataclasses.field(default=(), compare=False)

    @classmethod
    def of_manifest(cls, manifest: dict[str, Any]) -> Reading:
        """What ``simlm.json`` says; what it leaves out has its default.

        Raises
        ------
        UserError
            If it says something else than :meth:`for_manifest` does.
        """
        default = cls().for_manifest()
        said = {name: manifest.get(name, value) for name, value in default.items()}
        pooling = said["pooling"] if isinstance(said["pooling"], list) else [said["pooling"]]
        fits = all(type(said[name]) is type(value) for name, value in default.items() if name != "pooling") and said["title"] in TITLES
        if not (fits and pooling and all(mode in POOLINGS for mode in pooling) and said["similarity"] in SIMILARITIES):
            raise UserError(f"simlm.json says of a model that it reads so: {said}, which this version does not know; import or train the model again")
        fields = (said[name] for name in ("similarity", "query_prompt", "passage_prompt", "title"))
        others = manifest.get("prompts")
        return cls(tuple(pooling), said["normalised"], *fields, tuple(others.items()) if isinstance(others, dict) else ())

    def for_manifest(self) -> dict[str, Any]:
        """Entries of ``simlm.json``."""
        pooling = self.pooling[0] if len(self.pooling) == 1 else list(self.pooling)
        described = {"pooling": pooling, "normalised": self.normalize, "similarity": self.similarity}
        return {**described, "query_prompt": self.query_prompt, "passage_prompt": self.passage_prompt, "title": self.title}

    def changed(self, settings: Any, place: str) -> Reading:
        """This reading with what the configuration sets.

        Parameters
        ----------
        settings
            A block with fields of these names; null leaves what the model says of itself.
        place
            Path of the block in the configuration.

        Raises
        ------
        UserError
            If cosine is asked of vectors that are not normalised.
        """
        fields = [field.name for field in dataclasses.fields(self) if field.compare]
        given = {name: getattr(settings, name) for name in fields if getattr(settings, name) is not None}
        if isinstance(given.get("pooling"), str):
            given["pooling"] = (given["pooling"],)
        new = dataclasses.replace(self, **{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})
        if new.similarity != "cosine" or new.normalize:
            return new
        if "normalize" not in given:
            return dataclasses.replace(new, normalize=True)
        if "similarity" not in given:
            return dataclasses.replace(new, similarity="dot")
        raise UserError(f"{place}: cosine is the inner product of normalised vectors; leave normalize out, or set similarity: dot")


@dataclass(frozen=True)
class TextReader:
    """Queries and passages to tokens, in a bi-encoder's way of reading.

    Parameters
    ----------
    lengths
        Longest ``query`` and ``passage`` in tokens.
    """

    tokenizer: PreTrainedTokenizerFast
    lengths: dict[str, int]
    reading: Reading = Reading()

    def queries(self, texts: Sequence[str]) -> Tokens:
        """Tokens of queries, each alone."""
        prompt = self.reading.query_prompt
        return tokenize_queries(self.tokenizer, [prompt + text for text in texts] if prompt else texts, self.lengths["query"])

    def passages(self, titles: Sequence[str], texts: Sequence[str]) -> Tokens:
        """Tokens of passages, with their titles or without."""
        prompt, title, length = self.reading.passage_prompt, self.reading.title, self.lengths["passage"]
        if title == "pair":
            return tokenize_passages(self.tokenizer, titles, texts, length, prompt)
        if title == "none":
            whole = texts
        elif title == "joined":
            whole = [f"{title} {text}" if title else text for title, text in zip(titles, texts, strict=True)]
        else:
            whole = [f"{title or ABSENT_TITLE} {self.tokenizer.sep_token} {text}" for title, text in zip(titles, texts, strict=True)]
        return tokenize_queries(self.tokenizer, [prompt + text for text in whole], length)
