"""The run that a stage makes of a split: how deep it is, where it lies, and in which of the two forms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from simlm.context import Context
from simlm.corpus.store import CorpusStore
from simlm.records.record import StageRecord
from simlm.runs.runs import Ranking, write_train_run, write_trec_run


@dataclass(frozen=True)
class MadeRun:
    """A run of a system.

    Attributes
    ----------
    mined
        Whether negatives are mined from it: a Parquet file of rows to ``negatives.depth``, not a TREC run to ``evaluate.depth``.
    """

    system: str
    split: str
    mined: bool
    depth: int
    file: Path

    @classmethod
    def of(cls, context: Context, system: str, split: str, mined: bool) -> MadeRun:
        """The run of ``system`` as the experiment wants it."""
        experiment, paths = context.experiment, context.paths
        depth = experiment.negatives.depth if mined else experiment.evaluate.depth
        return cls(system, split, mined, depth, paths.train_run(system) if mined else paths.run(system, split))

    def write(self, rankings: Iterable[Ranking], store: CorpusStore, record: StageRecord) -> None:
        """Write the rankings, and name the file and the number of queries in the record."""
        if self.mined:
            count = write_train_run(self.file, rankings, system=self.system, depth=self.depth, corpus_sha256=store.sha256)
        else:
            count = write_trec_run(self.file, rankings, store, tag=self.system)
        record.outputs[f"{self.split} run" if self.mined else self.split] = self.file
        record.metrics[f"queries/{self.split}"] = count
