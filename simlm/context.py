"""An experiment and its files: what every stage is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from simlm.errors import UserError

if TYPE_CHECKING:
    from simlm.config import Experiment
    from simlm.paths import Paths
    from simlm.records.record import StageRecord


@dataclass(frozen=True)
class Context:
    """An experiment and its files."""

    experiment: Experiment
    paths: Paths

    def record(self, stage: str, name: str | None = None, part: str | None = None, inputs: Mapping[str, Path] | None = None) -> StageRecord:
        """The record of a job: its settings, code and inputs are those that its rule reruns on, and no stage can state others.

        Parameters
        ----------
        stage, name, part
            See :class:`simlm.config.jobs.Job`.
        inputs
            Name → file, where a job by hand reads others than its rule, or not all of them.

        Raises
        ------
        UserError
            If an input is not there, with the command that makes it.
        """
        from simlm.config.code import code_of
        from simlm.config.inputs import inputs_of
        from simlm.config.jobs import Job
        from simlm.config.stages import settings_of
        from simlm.records.record import StageRecord

        job = Job(stage, name, part)
        inputs = inputs_of(self.experiment, self.paths, job) if inputs is None else inputs
        self.require(*inputs.values())
        return StageRecord(self.paths.record(job.label), job.label, settings_of(self.experiment, *job), dict(inputs), code_of(self.experiment, stage, name))

    def require(self, *files: Path) -> None:
        """Refuse to start a job without its inputs.

        Raises
        ------
        UserError
            If a file is not there, with the command that makes it.
        """
        from simlm.config.inputs import maker_of

        for file in files:
            if not file.exists():
                maker = maker_of(self.experiment, self.paths, file)
                raise UserError(f"{file} does not exist; " + (f"run {maker.command} first" if maker else "restore it"))
