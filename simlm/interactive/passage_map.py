"""A map of the passages: the two directions in which a sample of a model's vectors differs most (principal components).

Two numbers of hundreds keep little of the distances, so the map says how much; neighbours in it need not be neighbours in the space.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simlm.config.jobs import shards_of
from simlm.errors import UserError, nearest

if TYPE_CHECKING:
    from simlm.config import Experiment
    from simlm.corpus.store import CorpusStore
    from simlm.paths import Paths

SAMPLE = 1500
"""Passages on the map."""
COLOURS = 6
"""Groups that have a colour of their own; the others share one."""


@dataclass(frozen=True)
class PassageMap:
    """Places of sampled passages between 0 and 1.

    Attributes
    ----------
    rows, titles
        Of the passages.
    places
        Shape (passages, 2).
    groups
        Group of each passage, an index into ``names``; the last name stands for all other groups.
    kept
        Share of the sample's variance that the two directions keep.
    mean, axes, low, high
        What brings another vector onto the map.
    """

    model: str
    rows: np.ndarray
    titles: list[str]
    places: np.ndarray
    groups: np.ndarray
    names: list[str]
    kept: float
    mean: np.ndarray
    axes: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def place(self, vectors: np.ndarray) -> np.ndarray:
        """Places of vectors, shape (n, dimension), cut at the edges of the map."""
        return np.clip(((vectors - self.mean) @ self.axes.T - self.low) / (self.high - self.low), 0.0, 1.0)


def mapped(experiment: Experiment) -> list[str]:
    """Models whose vectors can be mapped, the last of the chain first."""
    names = [name for name in experiment.evaluate.systems if experiment.system(name).encodes]
    return names[::-1]


def make_map(experiment: Experiment, paths: Paths, store: CorpusStore, model: str | None, shards: int | None = None) -> PassageMap:
    """Read a sample of a model's vectors and flatten it.

    Parameters
    ----------
    paths, store
        Where the vectors lie, and their passages.
    shards
        Shards in which they lie (default: as many as the experiment makes).

    Raises
    ------
    UserError
        If no evaluated model is called so, its vectors are not there, or it has one for every token.
    """
    from simlm.vectors.shards import Shards

    there = mapped(experiment)
    model = model or (there[0] if there else None)
    if model not in there:
        raise UserError(f"no evaluated model with vectors is called '{model}'{nearest(str(model), there)} (there are {', '.join(there) or 'none'})")
    embedded = Shards(paths.embeddings(model), shards or len(shards_of(experiment, model)), corpus_sha256=store.sha256)
    if embedded.ragged:
        raise UserError(f"'{model}' has a vector for every token, and the map shows one for a passage; choose another model")
    count = min(SAMPLE, embedded.rows)
    rows = np.sort(np.random.default_rng(experiment.seed).choice(embedded.rows, count, replace=False))
    vectors = embedded.take(rows).values
    mean = vectors.mean(axis=0)
    _, singular, axes = np.linalg.svd(vectors - mean, full_matrices=False)
    axes = axes[:2] if len(axes) > 1 else np.concatenate([axes, np.zeros_like(axes)])[:2]
    flat = (vectors - mean) @ axes.T
    low, high = flat.min(axis=0), flat.max(axis=0)
    high = np.where(high > low, high, low + 1.0)
    titles = store.texts(rows)[0]
    groups, names = _groups(titles)
    kept = float((singular[:2] ** 2).sum() / max(float((singular**2).sum()), 1e-12))
    return PassageMap(model, rows, titles, (flat - low) / (high - low), groups, names, kept, mean, axes, low, high)


def _groups(titles: list[str]) -> tuple[np.ndarray, list[str]]:
    """Groups by what stands before the first dot of the titles (``numpy.linalg.det``: numpy), where most have one.

    >>> _groups(["numpy.a", "numpy.b", "scipy.c", "x"])
    (array([0, 0, 1, 2]), ['numpy', 'scipy', 'other'])
    >>> _groups(["Sourdough", "Risotto"])
    (array([0, 0]), ['passages'])
    """
    first = [title.partition(".")[0] if "." in title.strip(".") and " " not in title.partition(".")[0] else "" for title in titles]
    if sum(map(bool, first)) < 0.7 * len(titles):
        return np.zeros(len(titles), np.int64), ["passages"]
    names = [name for name, _ in Counter(filter(None, first)).most_common(COLOURS)]
    number = {name: i for i, name in enumerate(names)}
    groups = np.array([number.get(name, len(names)) for name in first])
    return groups, [*names, "other"] if (groups == len(names)).any() else names
