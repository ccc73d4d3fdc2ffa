"""Systems of every kind behind one call: a query goes in, the best passages come out.

What a system needs is imported and opened when it is first asked, so that BM25 answers without loading torch.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simlm.config.graph import headline_system, systems_with_runs
from simlm.errors import UserError, nearest

if TYPE_CHECKING:
    from simlm.config import Experiment
    from simlm.context import Context
    from simlm.hardware import Precision
    from simlm.retrieval.encoder import TextEncoder

LONGEST_QUERY = 1000
"""Characters; more is a mistake, not a query."""

MOST_PASSAGES = 1000

Searcher = Callable[[str, int], tuple[np.ndarray, np.ndarray]]
"""Query and k → rows and scores of the best passages, best first, at most k of them."""


@dataclass(frozen=True)
class Hit:
    """One retrieved passage with its external id."""

    rank: int
    score: float
    id: str
    title: str
    text: str


@dataclass(frozen=True)
class Answer:
    """What a system found for a query, and how long the search took."""

    experiment: str
    system: str
    kind: str
    query: str
    seconds: float
    hits: list[Hit]

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``."""
        return asdict(self)


def kind_of(experiment: Experiment, system: str) -> str:
    """The kind of a system.

    Raises
    ------
    UserError
        If nothing is called so, or it does not retrieve.
    """
    choices = systems_with_runs(experiment)
    if system not in experiment.systems:
        raise UserError(f"no system of '{experiment.name}' is called '{system}'{nearest(system, choices)} (there are {', '.join(choices)})")
    block = experiment.system(system)
    if not block.retrieves:
        raise UserError(f"'{system}' is of kind {block.kind}, which does not retrieve; choose one of {', '.join(choices)}")
    return block.kind


class Systems:
    """The systems of an experiment that has run; each is opened once, when it is first asked.

    Parameters
    ----------
    evaluated
        Ask the evaluated passages alone, also where others were added since (:mod:`simlm.served`).

    Raises
    ------
    UserError
        If the experiment has no corpus yet, or its results belong to another configuration.
    """

    def __init__(self, context: Context, evaluated: bool = False) -> None:
        from simlm.served.collection import open_collection

        self.context, self.experiment, self.paths = context, context.experiment, context.paths
        context.require_belonging()
        self.collection = open_collection(context, evaluated)
        self.store = self.collection.store
        self._open: dict[str, Searcher] = {}
        self._encoders: dict[str, TextEncoder] = {}
        self._opening: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
        self._precision: Precision | None = None

    def open(self, system: str) -> Searcher:
        """Load what a system needs, or find it loaded; several threads may ask, and none waits for a system that it does not need.

        Raises
        ------
        UserError
            If there is no such system, or a file that it needs is missing, damaged or of another model.
        """
        kind_of(self.experiment, system)
        self.collection.require(system)
        with self._opening[system]:
            if system not in self._open:
                openers = {"search_bm25": self._lexical, "search_index": self._dense, "rerank": self._reranked, "fuse": self._fused}
                self._open[system] = openers[self.experiment.system(system).runs_by](system)
        return self._open[system]

    def is_open(self, system: str) -> bool:
        """Whether a system would answer without being loaded first."""
        return system in self._open

    def best_first(self) -> list[str]:
        """Systems that can be asked, the one with the best main metric on the main split first; in their own order where nothing is judged yet."""
        from simlm.evaluation.compare import MetricRow, read_rows

        names, evaluate = self.collection.systems, self.experiment.evaluate
        if not self.paths.metrics_table.exists():
            headline = headline_system(self.experiment)
            return sorted(names, key=lambda name: name != headline)
        rows = [row for row in read_rows(self.paths.metrics_table, MetricRow) if row.split == evaluate.main_split]
        main = next((row.metric for row in rows if row.metric == evaluate.main_metric), rows[0].metric if rows else "")
        value = {row.system: row.value for row in rows if row.metric == main}
        return sorted(names, key=lambda name: -value.get(name, -1.0))

    def query_vector(self, model: str, query: str) -> np.ndarray:
        """Vector of a query, shape (1, dimension), of a model with one vector per text."""
        self.open(model)
        return self._encoders[model].queries([query])

    def answer(self, system: str, query: str, k: int = 10) -> Answer:
        """Ask a system.

        Raises
        ------
        UserError
            If the query is empty or too long, ``k`` is out of range, or the system cannot be opened.
        """
        query = " ".join(query.split())
        if not query:
            raise UserError("the query is empty; write what you are looking for")
        if len(query) > LONGEST_QUERY:
            raise UserError(f"the query has {len(query):,} characters; give at most {LONGEST_QUERY:,}")
        if not 1 <= k <= MOST_PASSAGES:
            raise UserError(f"k is {k}; ask for 1 to {MOST_PASSAGES:,} passages")
        search = self.open(system)
        start = time.perf_counter()
        rows, scores = search(query, k)
        seconds = time.perf_counter() - start
        titles, texts = self.store.texts(rows)
        found = zip(scores.tolist(), self.store.ids(rows), titles, texts)
        hits = [Hit(rank, *fields) for rank, fields in enumerate(found, 1)]
        return Answer(self.experiment.name, system, kind_of(self.experiment, system), query, round(seconds, 4), hits)

    def _lexical(self, system: str) -> Searcher:
        from simlm.lexical.bm25 import Bm25Index

        index = Bm25Index.load(self.collection.paths.bm25, self.store.sha256)

        def search(query: str, k: int) -> tuple[np.ndarray, np.ndarray]:
            return next(index.rank([query], k))

        return search

    def _dense(self, system: str) -> Searcher:
        from simlm.indexes.base import Place
        from simlm.retrieval.prepared import open_encoder
        from simlm.retrieval.search import index_for

        encoder, settings = open_encoder(self.context, system, self._prepared()), self.experiment.index_of(system)
        self._encoders[system] = encoder
        held = self.collection
        place = Place(held.paths.index(system), held.paths.embeddings(system), held.shards(system), encoder.sha256, self.store.sha256)
        index = index_for(encoder.ragged, settings).open(place, settings)

        def search(query: str, k: int) -> tuple[np.ndarray, np.ndarray]:
            rows, scores = (values[0] for values in index(encoder.queries([query]), k))
            return rows[rows >= 0], scores[rows >= 0]

        return search

    def _reranked(self, system: str) -> Searcher:
        from simlm.lexical.bm25 import Bm25Index
        from simlm.lexical.hints import LexicalHints
        from simlm.retrieval.prepared import open_scorer
        from simlm.retrieval.rerank import reranked
        from simlm.runs.runs import Ranking

        settings = self.experiment.system(system)
        scorer, candidates = open_scorer(self.context, settings.sorter(system), self._prepared()), self.open(settings.candidates())
        index = Bm25Index.load(self.collection.paths.bm25, self.store.sha256) if scorer.lexical_hints else None

        def search(query: str, k: int) -> tuple[np.ndarray, np.ndarray]:
            rows, scores = candidates(query, max(k, settings.rerank_depth))
            if not len(rows):
                return rows, scores
            top = rows[: settings.rerank_depth]
            hints = LexicalHints(index, [query])(np.zeros(len(top), np.int64), top) if index else None
            logits = scorer.score(query, *self.store.texts(top), hints)
            ranking = reranked(Ranking("", rows, scores), logits)
            return ranking.passages[:k], ranking.scores[:k]

        return search

    def _fused(self, system: str) -> Searcher:
        from simlm.retrieval.fusion import fusing
        from simlm.retrieval.weights import weights_of

        settings = self.experiment.system(system)
        weights = weights_of(self.paths, system, settings)
        parts = [self.open(name) for name in settings.of]

        def search(query: str, k: int) -> tuple[np.ndarray, np.ndarray]:
            depth = max(k, self.experiment.evaluate.depth)
            return fusing(settings.by, settings.k, k, weights)([part(query, depth) for part in parts])

        return search

    def _prepared(self) -> Precision:
        """Arithmetic of the models, chosen once; torch gets its threads at the same time."""
        if self._precision is None:
            from simlm import hardware

            hardware.prepare(self.experiment.encoding.threads)
            self._precision = hardware.choose_precision(self.experiment.precision)
        return self._precision
