"""Vectors of some texts: one per text, or as many as a text has tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Vectors:
    """Vectors, one text after the other.

    Attributes
    ----------
    values
        Shape (vectors, dimension).
    offsets
        Text ``i`` has ``values[offsets[i]:offsets[i + 1]]``; int64, shape (texts + 1,). None: one vector each.

    >>> dense = Vectors(np.eye(3))
    >>> len(dense), dense[1:].values.tolist()
    (3, [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> ragged = Vectors(np.arange(6.0)[:, None], np.array([0, 1, 1, 6]))
    >>> len(ragged), ragged.lengths.tolist(), ragged[1:3].offsets.tolist(), ragged.take([2, 0]).values[:, 0].tolist()
    (3, [1, 0, 5], [0, 0, 5], [1.0, 2.0, 3.0, 4.0, 5.0, 0.0])
    """

    values: np.ndarray
    offsets: np.ndarray | None = None

    @classmethod
    def of(cls, vectors: Vectors | np.ndarray) -> Vectors:
        """Vectors as they are; an array holds one per text."""
        return vectors if isinstance(vectors, Vectors) else cls(vectors)

    @classmethod
    def ragged(cls, values: np.ndarray, lengths: Sequence[int] | np.ndarray) -> Vectors:
        """Vectors of texts with ``lengths`` of them."""
        return cls(values, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))

    @classmethod
    def join(cls, parts: Iterable[Vectors]) -> Vectors:
        """Several after one another, all dense or none."""
        parts = list(parts)
        values = np.concatenate([part.values for part in parts])
        return cls(values) if parts[0].offsets is None else cls.ragged(values, np.concatenate([part.lengths for part in parts]))

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    def __getitem__(self, texts: slice) -> Vectors:
        """Consecutive texts."""
        if self.offsets is None:
            return Vectors(self.values[texts])
        first, last, _ = texts.indices(len(self))
        offsets = self.offsets[first : max(first, last) + 1]
        return Vectors(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    @property
    def lengths(self) -> np.ndarray:
        """Vectors of each text."""
        return np.ones(len(self), np.int64) if self.offsets is None else np.diff(self.offsets)

    def take(self, texts: Sequence[int] | np.ndarray) -> Vectors:
        """The texts at some places, in that order."""
        texts = np.asarray(texts, np.int64)
        if self.offsets is None:
            return Vectors(self.values[texts])
        parts = [self.values[self.offsets[text] : self.offsets[text + 1]] for text in texts.tolist()]
        return Vectors.ragged(np.concatenate([self.values[:0], *parts]), self.lengths[texts])
