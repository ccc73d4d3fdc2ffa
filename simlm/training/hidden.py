"""Positives without their query, for queries that were made of the passage's own words: the inverse cloze task.

Only what a training reads is changed: passages are embedded, indexed and searched as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simlm.corpus.store import CorpusStore
from simlm.lexical.own_words import without_query
from simlm.models.text import Tokens
from simlm.progress import say
from simlm.training.queries import TrainingQueries
from simlm.training.randomness import uniform

if TYPE_CHECKING:
    from simlm.training.job import TrainingJob

HIDDEN = 104
"""Stream of random numbers (see :func:`simlm.training.randomness.uniform`)."""


@dataclass(frozen=True)
class HiddenQueries:
    """Which positives are read without their query, and how.

    Attributes
    ----------
    share
        Share of the visits at which a query is hidden; one that never is would teach that equal words mean nothing (0.9 in the inverse cloze task).
    texts, keys
        Of all training queries, by number; a visit is told by its epoch and the query's key.
    read
        Titles and texts to tokens, as all other passages are read.
    """

    share: float
    seed: int
    texts: Sequence[str]
    keys: np.ndarray
    store: CorpusStore
    read: Callable[[list[str], list[str]], Tokens]

    @classmethod
    def of(cls, job: TrainingJob, trained: TrainingQueries, read: Callable[[list[str], list[str]], Tokens]) -> HiddenQueries:
        """Those of a training; its record says how many queries stand in their passage at all."""
        share = job.settings.hide_query
        hidden = cls(share, job.seed, trained.texts, trained.groups.keys, job.store, read)
        looked = trained.seen[:1000].tolist()
        standing = hidden.standing(looked, np.array([trained.groups.positives_of(query)[0] for query in looked]))
        said = f"{standing:.0%} of the training queries stand word for word in their passage, and are taken out of it at {share:.0%} of the visits"
        job.record.notes["hidden queries"] = said
        say(f"{said} (hide_query)")
        return hidden

    def at(self, items: Sequence[tuple[int, int]]) -> np.ndarray:
        """Whether each (epoch, query number) is a visit with a hidden query; bool, shape (items,)."""
        visits = np.array([[epoch, self.keys[query]] for epoch, query in items], np.uint64).reshape(-1, 2)
        return uniform(self.seed, HIDDEN, visits, 1)[:, 0] < self.share

    def put(self, passages: Tokens, items: Sequence[tuple[int, int]], positives: np.ndarray) -> Tokens:
        """Tokens of a batch of groups, the positive first in each, with the hidden ones in their places.

        Parameters
        ----------
        passages
            Of all groups, one after the other.
        positives
            Row of the positive of each item.
        """
        hidden = np.flatnonzero(self.at(items))
        if not len(hidden):
            return passages
        own = self.views([items[i][1] for i in hidden], positives[hidden])
        places = np.arange(len(passages))
        places[hidden * (len(passages) // len(items))] = len(passages) + np.arange(len(hidden))
        return Tokens.join([passages, own]).take(places)

    def views(self, queries: Sequence[int], rows: np.ndarray) -> Tokens:
        """Tokens of the passages at ``rows``, each without the words of its query."""
        seen = [without_query(self.texts[query], title, text) for query, title, text in zip(queries, *self.store.texts(rows), strict=True)]
        return self.read([title for title, _ in seen], [text for _, text in seen])

    def standing(self, queries: Sequence[int], rows: np.ndarray) -> float:
        """Share of some queries that stand word for word in their passage."""
        pairs = list(zip(*self.store.texts(rows), strict=True))
        return float(np.mean([without_query(self.texts[query], *pair) != pair for query, pair in zip(queries, pairs, strict=True)]))
