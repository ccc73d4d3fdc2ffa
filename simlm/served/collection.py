"""The collection that `simlm search` and `simlm serve` ask: the evaluated one, or the one beside it that has passages added since.

What an experiment has judged stays as it is. Passages that are added later lie with everything that is made of them in ``served/``, so that a
table, a run or a report never speaks of another corpus than it was made from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from simlm.config.experiment import Experiment
from simlm.config.graph import systems_with_runs
from simlm.config.jobs import shards_of
from simlm.config.kinds.bm25 import LEXICAL
from simlm.context import Context
from simlm.corpus.store import CorpusStore
from simlm.errors import UserError
from simlm.files import read_manifest
from simlm.models.manifest import model_fingerprint
from simlm.paths import Paths

MANIFEST = "manifest.json"
SHAPE = {"base": {"corpus_sha256": str, "passages": int}, "passages": int, "systems": list, "models": dict, "files": list}


def read_served(paths: Paths) -> dict[str, Any] | None:
    """The manifest of an experiment's served collection, or None if there is none."""
    if not paths.served.exists():
        return None
    return read_manifest(paths.served / MANIFEST, "the manifest of a served collection", "simlm add", SHAPE)


def parts_of(experiment: Experiment, systems: list[str]) -> list[str]:
    """What must hold the passages so that the systems can be asked: BM25's index, and the models that embed.

    A re-ranker and a fusion need those of the systems that they build on.
    """
    found, stack = [], list(systems)
    while stack:
        name = stack.pop(0)
        system = experiment.system(name)
        stack += system.reads_runs().values()
        scorer = experiment.system(system.sorter(name)) if system.runs_by == "rerank" else system
        found += [name] if system.runs_by == "search_index" else []
        found += [LEXICAL] if system.runs_by == "search_bm25" or scorer.reads_lexical_index() else []
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Collection:
    """Passages, and where what is made of them lies.

    Attributes
    ----------
    paths
        Corpus, BM25 index, embeddings and indexes; models are the experiment's.
    served
        The manifest of the served collection; None for the evaluated one.
    """

    context: Context
    paths: Paths
    served: dict[str, Any] | None = None

    @cached_property
    def store(self) -> CorpusStore:
        """The passages."""
        return CorpusStore(self.paths.corpus)

    @property
    def added(self) -> int:
        """Passages that the evaluation knows nothing of."""
        return self.served["passages"] - self.served["base"]["passages"] if self.served else 0

    @property
    def parts(self) -> list[str]:
        """Models that embed, and BM25, as far as they hold all passages."""
        experiment = self.context.experiment
        return parts_of(experiment, self.served["systems"] if self.served else systems_with_runs(experiment))

    @property
    def systems(self) -> list[str]:
        """Systems that can be asked: the evaluated ones in their order, then those that they build on."""
        experiment = self.context.experiment
        return [name for name in systems_with_runs(experiment) if self.served is None or set(parts_of(experiment, [name])) <= {*self.parts}]

    def shards(self, model: str) -> int:
        """Shards in which the model's vectors lie."""
        return 1 if self.served else len(shards_of(self.context.experiment, model))

    def require(self, system: str) -> None:
        """Refuse a system that does not hold all passages, or whose model is another one now.

        Raises
        ------
        UserError
            With the command that mends it.
        """
        if self.served is None:
            return
        name, paths = self.context.experiment.name, self.context.paths
        if system not in self.systems:
            raise UserError(
                f"'{system}' does not hold the {self.added:,} passages that were added to '{name}' ({', '.join(self.systems)} can be asked); run simlm add "
                f"--experiment {name} --system {system}, or ask for the evaluated passages alone (--evaluated)"
            )
        for part in parts_of(self.context.experiment, [system]):
            if part != LEXICAL and self.served["models"].get(part) != model_fingerprint(paths.model(part)):
                raise UserError(
                    f"{self.paths.root} was made with another '{part}' than the one that is there now; run simlm add --experiment {name} again, which takes "
                    "the added passages along, or ask for the evaluated ones alone (--evaluated)"
                )


def open_collection(context: Context, evaluated: bool = False) -> Collection:
    """The served collection where there is one, and it was not asked for the evaluated one.

    Raises
    ------
    UserError
        If the served collection was added to another corpus than the experiment's.
    """
    served = None if evaluated else read_served(context.paths)
    if served is None:
        return Collection(context, context.paths)
    if served["base"]["corpus_sha256"] != CorpusStore(context.paths.corpus).sha256:
        raise UserError(
            f"{context.paths.served} was added to another corpus than the one that is there now; run simlm add --experiment {context.experiment.name} again, "
            "which takes the added passages along, or ask for the evaluated ones alone (--evaluated)"
        )
    return Collection(context, Paths(Path(context.paths.served)), served)
