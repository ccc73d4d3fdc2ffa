"""Arithmetic of training, encoding and scoring, in floating-point operations; a backward pass counts as two forward passes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from simlm.config import Experiment
from simlm.config.jobs import teacher_scores_all
from simlm.planning.counts import Counts
from simlm.planning.lengths import QUERY_WORDS, longest, mean_cut, tokens_of
from simlm.planning.shapes import Known, Shape, shape_of
from simlm.training.schedule import look_every, total_steps

HOLDOUT_NEGATIVES = 15
"""Negatives per held-out query in the evaluation of a retriever or re-ranker during its training."""
SORTED = 1.08
"""Padding of texts that are sorted by length before they are cut into batches."""
COUNTED = 0.87
"""Tokens of a passage that are no punctuation, whose vectors late interaction keeps (measured on 33,600 passages of MS MARCO)."""
TOKEN_WIDTH = 128
"""Numbers of a token's vector where nothing is said."""


@dataclass(frozen=True)
class Work:
    """What a model of the graph computes.

    Attributes
    ----------
    operations
        Floating-point operations.
    width
        Width of the model, which decides how fast they are.
    steps
        Optimiser steps.
    """

    operations: float
    width: int
    steps: int = 0


@dataclass(frozen=True)
class Workload:
    """An experiment and the size of its collection."""

    experiment: Experiment
    counts: Counts

    @cached_property
    def shapes(self) -> dict[str, Known]:
        """Shape of every trained model of the graph."""
        return {name: shape_of(self.experiment, name) for name, block in self.experiment.models.items() if block.trainer or block.initial()}

    def shape(self, name: str) -> Shape:
        return self.shapes[name].shape if name in self.shapes else shape_of(self.experiment, name).shape

    def passage(self, name: str) -> float:
        """Mean tokens of an uncut passage with a model's vocabulary."""
        return tokens_of(self.counts.words, self.shape(name).vocabulary)

    def query(self, name: str) -> float:
        return tokens_of(QUERY_WORDS, self.shape(name).vocabulary)

    def train_queries(self, name: str) -> int:
        """Training queries that are not held out."""
        return max(1, self.counts.queries.get("train", 0) - self.held_out(name))

    def held_out(self, name: str) -> int:
        """Training queries that a fine-tuning keeps out."""
        return min(getattr(self.experiment.models[name], "holdout", 0), self.counts.queries.get("train", 0) // 10)

    def steps(self, name: str) -> int:
        """Optimiser steps of a training."""
        block = self.experiment.models[name]
        return total_steps(block, self.counts.passages if block.pretrained else self.train_queries(name))

    def training(self, name: str) -> Work:
        """Everything that ``simlm train`` computes for a model."""
        block, shape = self.experiment.models[name], self.shape(name)
        own = block.operations(self, name)
        return Work(self._plain(name, block, shape) if own is None else own, shape.hidden, self.steps(name))

    def _plain(self, name: str, block: Any, shape: Shape) -> float:
        """Masked language modelling, or an objective that nothing is known of."""
        padded = self._padded(name, block)
        masked = getattr(block, "mask_probability", 0.15) * padded
        return 3 * self.steps(name) * block.batch_size * (shape.reading(padded) + shape.head(masked))

    def _padded(self, name: str, block: Any) -> float:
        """Mean length of the micro-batches of pre-training, whose passages are sorted by length within a step."""
        micro = min(getattr(block, "micro_batch_size", None) or block.batch_size, block.batch_size)
        return longest(self.passage(name), getattr(block, "max_length", 144), micro, block.batch_size // micro)

    def bottleneck(self, name: str, block: Any) -> float:
        """Generator over what is replaced, encoder, decoder, their losses; then the looks at held-out passages and the probe."""
        shape = self.shape(name)
        padded, real = self._padded(name, block), mean_cut(self.passage(name), block.max_length)
        own = block.decoder == "shallow"
        corrupted = [(block.encoder_corruption, block.encoder_mask), *([(block.decoder_corruption, block.decoder_mask)] if own else [])]
        shares = [share for corruption, share in corrupted if corruption == "replaced"]
        generator = shape_of(self.experiment, block.generator).shape if shares else None
        replaced = len(shares) * generator.reading(padded) + generator.head(sum(shares) * real) if generator else 0
        decoded = shape.forward(padded, block.decoder_layers) if block.decoder != "none" else 0
        model = shape.reading(padded) + decoded + shape.head(block.labelled * real)
        # Spans that are read in pieces are read once more, for their cached gradients.
        passes = 4 if block.span_contrast and block.micro_batch_size and block.micro_batch_size < block.batch_size else 3
        steps, training = self.steps(name), block.texts * (passes * model + (passes if block.train_generator else passes - 2) * replaced)
        looks = 1 + (steps // block.probe.every_steps if block.probe else 0)
        looked = looks * min(block.holdout, self.counts.passages // 10) * block.texts * (model + replaced)
        probed = looks * block.probe.passages * SORTED * shape.reading(real) if block.probe else 0
        return steps * block.batch_size * training + looked + probed

    def contrastive(self, name: str, block: Any) -> float:
        """A retriever over groups of passages, and its looks at held-out queries."""
        hard = block.hard_negatives if block.negatives else 0
        passage, query = self.encoding(name), self.asking(name)
        # With a smaller micro-batch the activations are computed twice.
        passes = 4 if block.micro_batch_size and block.micro_batch_size < block.batch_size else 3
        # Logits of all words are only looked through: nothing goes back through them.
        spared = 2 * (self._words(name, self._asked(name)) + (1 + hard) * self._words(name, self._read(name)))
        looked = self.looks(name, block) * self.held_out(name) * (query + (1 + self._pooled(block, hard)) * passage)
        return self.steps(name) * block.batch_size * (passes * (query + (1 + hard) * passage) - spared) + looked

    def over_pairs(self, name: str, block: Any) -> float:
        """A re-ranker over groups of pairs, of which the hardest are learned from, and its looks at held-out queries."""
        shape = self.shape(name)
        pair = shape.reading(SORTED * mean_cut(self.pair(name), block.max_length), first_only=True)
        chosen = (1 + block.hard_negatives) * pair if block.forward_factor > 1 else 0
        trained = block.texts * 3 * pair
        looked = self.looks(name, block) * self.held_out(name) * (1 + self._pooled(block, block.hard_negatives)) * self.scoring(name)
        return self.steps(name) * block.batch_size * (chosen + trained) + looked

    def _pooled(self, block: Any, hard: int) -> int:
        return block.pooled(hard) if hasattr(block, "pooled") else min(hard, HOLDOUT_NEGATIVES)

    def looks(self, name: str, block: Any) -> int:
        """How often a fine-tuning looks at its held-out queries: every epoch and at the end; where it keeps the best, also at the start."""
        steps, epoch = self.steps(name), max(1, math.ceil(self.train_queries(name) / block.batch_size))
        if getattr(block, "keep", "last") == "best":
            return 2 + steps // look_every(epoch, steps)
        return 1 + steps // epoch

    def pair(self, name: str) -> float:
        """Mean tokens of an uncut (query, passage) pair."""
        return self.query(name) + self.passage(name)

    def scoring(self, name: str) -> float:
        """Operations for one pair with a cross-encoder, or for a passage with late interaction, which reads queries once."""
        if self.ragged(name):
            return self.encoding(name)
        limit = getattr(self.experiment.system(name), "max_length", None) or 192
        return self.shape(name).reading(SORTED * mean_cut(self.pair(name), limit), first_only=True)

    def encoding(self, name: str) -> float:
        """Operations for one passage with a retriever."""
        return self._embedding(name, self._read(name))

    def asking(self, name: str) -> float:
        """Operations for one query with a retriever."""
        return self._embedding(name, self._asked(name))

    def _read(self, name: str) -> float:
        """Tokens that a retriever reads of a passage, padding included."""
        limit = getattr(self.experiment.system(name), "passage_length", None) or 144
        return SORTED * mean_cut(self.passage(name), limit)

    def _asked(self, name: str) -> float:
        """The same of a query."""
        limit = getattr(self.experiment.system(name), "query_length", None) or 32
        return limit if self.ragged(name) else SORTED * mean_cut(self.query(name), limit)

    def _embedding(self, name: str, tokens: float) -> float:
        words = self._words(name, tokens)
        return self.shape(name).reading(tokens, first_only=not (words or self.ragged(name))) + words

    def _words(self, name: str, tokens: float) -> float:
        """The logits of all words at every token, for a model whose vectors are made of them."""
        return self.shape(name).head(tokens) if getattr(self.experiment.system(name), "reads_words", False) else 0.0

    def ragged(self, name: str) -> bool:
        """Whether a model has a vector per token."""
        return getattr(self.experiment.system(name), "ragged", False)

    def width(self, name: str) -> int:
        """Numbers of a vector."""
        system, shape = self.experiment.system(name), self.shape(name)
        return (system.dimension or TOKEN_WIDTH) if self.ragged(name) else system.vector_width(shape.hidden, shape.vocabulary)

    def vectors(self, name: str) -> float:
        """Vectors of a passage."""
        limit = getattr(self.experiment.system(name), "passage_length", None) or 144
        return COUNTED * mean_cut(self.passage(name), limit) if self.ragged(name) else 1.0

    def query_vectors(self, name: str) -> int:
        """Vectors of a query."""
        return (getattr(self.experiment.system(name), "query_length", None) or 32) if self.ragged(name) else 1

    def teacher_pairs(self, student: str) -> float:
        """Pairs that a student's training visits, and so its teacher scores."""
        block, queries = self.experiment.models[student], self.train_queries(student)
        epochs = self.steps(student) * block.batch_size / queries
        listed = max(self.experiment.negatives.sample, self.experiment.negatives.pad_to)
        if teacher_scores_all(self.experiment, student):
            return queries * (1.0 + listed)
        # One positive per query; in an epoch that does not end only some queries are visited.
        return queries * min(1.0, epochs) * (1 + min(listed, block.hard_negatives * max(1.0, epochs)))
