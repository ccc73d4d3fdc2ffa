"""The queries that a retriever or a re-ranker is trained on: their groups of passages, their texts, and those that are held out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simlm.config.graph import trainings_behind
from simlm.config.stages import model_seed
from simlm.context import Context
from simlm.corpus.store import CorpusStore
from simlm.training.groups import Groups, groups_without_negatives, query_key, read_groups
from simlm.training.two_lists import in_turn


@dataclass(frozen=True)
class TrainingQueries:
    """Queries by number.

    Attributes
    ----------
    texts
        One per query of ``groups``.
    seen, held_out
        Numbers of the queries that are trained on, and of those kept for evaluation, sorted.
    settings, seed
        Of the model: how many passages of a group a step sees, and which.
    """

    groups: Groups
    texts: list[str]
    seen: np.ndarray
    held_out: np.ndarray
    settings: Any
    seed: int

    @classmethod
    def of(cls, context: Context, name: str, store: CorpusStore) -> TrainingQueries:
        """Those of the model ``name``; its teacher scores what they visit."""
        settings = context.experiment.models[name]
        groups, seed = training_groups(context, settings, store), model_seed(context.experiment, name)
        held_out = groups.holdout(seed, settings.holdout)
        by_id = store.queries("train")
        seen = np.setdiff1d(np.arange(len(groups)), held_out)
        return cls(groups, [by_id[query_id] for query_id in groups.query_ids], seen, held_out, settings, seed)

    @property
    def counts(self) -> dict[str, Any]:
        """What the record says of them."""
        return {"trained": len(self.seen), "held_out": len(self.held_out), **self.groups.about}

    def item(self, epoch: int, index: int) -> tuple[int, int]:
        """What a collator is given for the example ``index`` of an epoch: the epoch and the query's number."""
        return epoch, int(self.seen[index])

    def visits(self, items: Sequence[tuple[int, int]]) -> np.ndarray:
        """Rows that each (epoch, query number) sees, the positive first; shape (items, group)."""
        n, rotation = hard_negatives(self.settings), self.settings.rotation
        return np.stack([self.groups.visit(self.seed, epoch, query, n, rotation) for epoch, query in items])

    def pool(self) -> np.ndarray:
        """Rows of what the positive of each held-out query is ranked among, the positive first; shape (held-out queries, group)."""
        n = self.settings.pooled(hard_negatives(self.settings))
        return np.stack([self.groups.visit(self.seed, 0, query, n, "shuffled") for query in self.held_out.tolist()])

    @property
    def epoch_steps(self) -> int:
        """Optimiser steps of one pass over the training queries: the distance of two looks at the held-out ones."""
        return max(1, math.ceil(len(self.seen) / self.settings.batch_size))


def unseen_queries(context: Context, systems: Sequence[str], store: CorpusStore, most: int) -> list[str]:
    """Training queries with a relevant passage that no training behind ``systems`` has seen: held out by all of them; sorted.

    Where nothing is trained behind them, ``most`` of all, chosen by a hash of their ids.
    """
    experiment, trained, kept = context.experiment, set[str](), set[str]()
    models = trainings_behind(experiment, systems)
    for name in models:
        settings = experiment.models[name]
        groups = training_groups(context, settings, store)
        held_out = {groups.query_ids[i] for i in groups.holdout(model_seed(experiment, name), getattr(settings, "holdout", 0)).tolist()}
        kept |= held_out
        trained |= set(groups.query_ids) - held_out
    if models:
        return sorted(kept - trained)
    return sorted(sorted(store.positives("train"), key=query_key)[:most])


def hard_negatives(settings: Any) -> int:
    """Hard negatives per query and step; none where no system is mined."""
    return settings.hard_negatives if settings.negatives else 0


def training_groups(context: Context, settings: Any, store: CorpusStore) -> Groups:
    """The groups that a bi-encoder or cross-encoder trains on."""
    folder = context.paths.root / "training"
    if settings.negatives is None:
        return groups_without_negatives(store, folder)
    lists = [read_groups(context.paths.negatives(source), store, settings.hard_negatives, folder) for source in settings.mined_from().values()]
    return lists[0] if len(lists) == 1 else in_turn(*lists, folder)
