"""One model of the graph while it is trained."""

from __future__ import annotations

from dataclasses import dataclass

from simlm import hardware, processes
from simlm.config.kinds import Training
from simlm.context import Context
from simlm.records.record import StageRecord


@dataclass
class TrainingJob:
    """One model of the graph while it is trained."""

    context: Context
    name: str
    settings: Training
    seed: int
    precision: hardware.Precision
    threads: int
    record: StageRecord

    @property
    def key(self) -> str:
        """Stage key: the identity of the model."""
        return self.record.key

    @property
    def checkpoint_key(self) -> str:
        """Identity of the checkpoints: the stage key, the arithmetic and the code that trains, so that nothing goes on from what other code did."""
        return f"{self.key}-{self.precision.name}-{self.record.code}"

    @property
    def is_main(self) -> bool:
        """Whether this process writes files (rank 0 of several processes)."""
        return processes.is_main()
