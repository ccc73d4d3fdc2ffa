"""An experiment and its files: what every stage is given."""

from __future__ import annotations

from collections.abc import Iterable
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

    def record(self, stage: str, name: str | None = None, part: str | None = None, inputs: dict[str, Path] | None = None) -> StageRecord:
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
            If an input is not there, with the command that makes it; if it is not what its own record says, or if that record,
            or one before it, belongs to another configuration.
        """
        from simlm.config.inputs import outputs_of, plan_of
        from simlm.config.jobs import Job
        from simlm.config.load import resolved
        from simlm.hub import fetch
        from simlm.records.record import StageRecord

        job = Job(stage, name, part)
        plan = plan_of(self.experiment, self.paths, job, hub=fetch, inputs=inputs)
        made = [*outputs_of(self.experiment, self.paths, job), *([self.paths.history(name)] if stage == "train" and name else [])]
        self.require(*plan.inputs.values())
        self.require_belonging(stage, name, part, files=plan.inputs.values())
        return StageRecord(self.paths.record(job.label), job.label, plan.settings, plan.inputs, plan.code, resolved(self.experiment), made)

    def require(self, *files: Path) -> None:
        """Refuse to start a job without its inputs.

        Raises
        ------
        UserError
            If a file is not there, with the command that makes it.
        """
        from simlm.config.makers import makers

        for file in files:
            if not file.exists():
                maker = makers(self.experiment, self.paths).get(file)
                raise UserError(f"{file} does not exist; " + (f"run {maker.command} first" if maker else "restore it"))

    def require_belonging(self, stage: str | None = None, name: str | None = None, part: str | None = None, files: Iterable[Path] | None = None) -> None:
        """Refuse results that other settings or inputs have made: those that a job is made of, or all.

        Parameters
        ----------
        stage, name, part
            The job; default: everything that the experiment asks for.
        files
            Results that must be what their records say; default: all.

        Raises
        ------
        UserError
            With the names of the stages or of the file.
        """
        from simlm.config.belonging import require_belonging
        from simlm.config.jobs import Job
        from simlm.config.makers import before
        from simlm.damage import require_stated

        require_stated(self.paths, files)
        require_belonging(self.experiment, self.paths, before(self.experiment, self.paths, Job(stage, name, part)) if stage else None)
