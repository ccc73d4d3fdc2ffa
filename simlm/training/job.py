"""One model of the graph while it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simlm import hardware, processes
from simlm.config.kinds import Training
from simlm.context import Context
from simlm.models.folder import save_model
from simlm.models.manifest import WEIGHTS
from simlm.records.record import StageRecord

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


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

    def export(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, part: str | None = None, **contents: Any) -> None:
        """Write the model's folder, or that of one of its parts, and name its weights in the record (the main process does).

        ``contents``: see :func:`~simlm.models.folder.save_model`.
        """
        if self.is_main:
            name = f"{self.name}.{part}" if part else self.name
            folder = self.context.paths.model(name)
            save_model(folder, model, tokenizer, kind=self.context.experiment.system(name).format, key=self.key, **contents)
            self.record.outputs[f"{part}/weights" if part else "weights"] = folder / WEIGHTS
