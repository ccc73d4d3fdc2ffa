"""Replays an experiment's files into MLflow: one parent run for the configuration, one child per stage.

The replay is idempotent. What MLflow already has is left alone, an unfinished run is continued (only later steps
are logged), and a stage that was computed anew takes the place of its old run, which is deleted softly.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simlm.config import Experiment
from simlm.config.graph import LEXICAL
from simlm.evaluation import gate
from simlm.evaluation.compare import read_metrics, read_rows
from simlm.files import read_manifest
from simlm.paths import Paths
from simlm.progress import progress
from simlm.records.stages import Stage, elsewhere, number, read_stages
from simlm.tracking import identity
from simlm.tracking.artifacts import experiment_artifacts, folder_digest, stage_artifacts
from simlm.tracking.headline import description, headline_metrics, metrics_of_systems, pair_tags, shared_view
from simlm.tracking.names import flatten, mlflow_name, safe_key
from simlm.tracking.owner import owner_of
from simlm.tracking.patience import within
from simlm.tracking.store import Store, exclusive, initialise

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EVALUATED = "simlm.evaluated"

LAST_WORD = 5.0
"""Seconds for the try to end a run after the store has failed."""


@dataclass
class Mirrored:
    """What a replay did."""

    experiment_id: str
    parent: str
    runs: dict[str, dict[str, str]]
    written: int
    unchanged: int
    seconds: float


def mirror(experiment: Experiment, paths: Paths, store: Store) -> Mirrored:
    """Bring MLflow up to date with the files below ``paths``.

    Raises
    ------
    UserError
        If a record is damaged or the store is unusable for a reason the user can mend.
    Exception
        Whatever MLflow raises when the store cannot be reached.
    """
    start = time.monotonic()
    stages = read_stages(experiment, paths)
    with exclusive(store):
        owner = owner_of(paths.root)
        client, experiment_id = initialise(store)
        return _Replay(client, experiment_id, experiment, paths, owner).run(stages, start)


class _Replay:
    def __init__(self, client: MlflowClient, experiment_id: str, experiment: Experiment, paths: Paths, owner: str) -> None:
        self.owner = owner
        self.client, self.experiment_id, self.experiment, self.paths = client, experiment_id, experiment, paths
        self.rows = read_metrics(paths.metrics_table)

    def run(self, stages: list[Stage], start: float) -> Mirrored:
        times = [stage.times() for stage in stages] or [(int(time.time() * 1000),) * 2]
        parent = identity.open_parent(self.client, self.experiment_id, self.experiment, self.owner, min(begin for begin, _ in times))
        with self._ended(parent):
            runs, written = self._stages(stages, parent)
            self._parent(parent, stages, max(end for _, end in times))
        identity.settle(self.client, self.experiment_id, parent)
        tags = self.client.get_experiment(self.experiment_id).tags
        for name, value in shared_view(self.experiment).items():
            if tags.get(name) != value:
                self.client.set_experiment_tag(self.experiment_id, name, value)
        return Mirrored(self.experiment_id, parent.info.run_id, runs, written, len(stages) - written, time.monotonic() - start)

    def _stages(self, stages: list[Stage], parent: Run) -> tuple[dict[str, dict[str, str]], int]:
        """Ids and keys of the stages' runs, and how many were written."""
        children = identity.find_children(self.client, self.experiment_id, parent)
        by_system = metrics_of_systems(self.rows)
        runs: dict[str, dict[str, str]] = {}
        written = 0
        for stage in progress(stages, len(stages), "Mirroring stages to MLflow", unit="stages"):
            run, changed = self._stage(stage, next(iter(children.get(stage.name, ())), None), parent)
            written += changed
            self._evaluated(stage, run, by_system)
            runs[stage.name] = {"run_id": run.info.run_id, "key": _key(stage)}
        return runs, written

    @contextmanager
    def _ended(self, run: Run) -> Iterator[None]:
        """Whatever happens to the replay, no run is left running, unless the store is gone; the next replay goes on with it."""
        try:
            yield
        except BaseException:
            with suppress(Exception):
                within(LAST_WORD, lambda: self.client.set_terminated(run.info.run_id, "FAILED"))
            raise

    def _stage(self, stage: Stage, run: Run | None, parent: Run) -> tuple[Run, bool]:
        """Write one child run unless it is up to date; returns it and whether it was written."""
        digest, (begin, end) = stage.digest, stage.times()
        if run is not None and identity.is_complete(run) and run.data.tags[identity.DIGEST] == digest:
            return run, False
        if run is not None and (identity.is_complete(run) or run.data.tags.get(identity.KEY) != _key(stage)):
            identity.give_way(self.client, run, digest)
            run = None
        tags = {key[:250]: value[:5000] for key, value in stage_tags(stage).items()} | {identity.DIGEST: digest}
        if run is None:
            known: dict[str, set[int]] = {}
            run = identity.open_child(self.client, self.experiment_id, parent, stage.name, _key(stage), begin, tags)
            tags = {}
        else:
            known = self._logged_steps(run, {metric.key for metric in stage_metrics(stage, {})})
        with self._ended(run):
            write(self.client, run.info.run_id, metrics=stage_metrics(stage, known), params=_stage_params(stage), tags=tags)
            with stage_artifacts(stage, self.paths) as folder:
                self.client.log_artifacts(run.info.run_id, str(folder))
            # Last: until then the run counts as unfinished, and the next replay continues it.
            self.client.set_terminated(run.info.run_id, "FINISHED", end_time=end)
        return run, True

    def _logged_steps(self, run: Run, keys: Iterable[str]) -> dict[str, set[int]]:
        # Not from run.data.metrics: MLflow notes a metric's latest value after its points, and a crash may come between.
        return {key: {point.step for point in self.client.get_metric_history(run.info.run_id, key)} for key in keys}

    def _evaluated(self, stage: Stage, run: Run, by_system: dict[str, dict[str, float]]) -> None:
        """Put a system's metrics on the run of the stage that made it, and on an MLflow model that can be compared."""
        system = self._made(stage)
        values = by_system.get(system or "")
        if not values:
            return
        mark = json.dumps(values, sort_keys=True)
        if run.data.tags.get(EVALUATED) == mark:
            return
        from mlflow.entities import Metric

        model_id = run.data.tags.get("simlm.model_id") or self._model(stage, run, system)
        now = int(time.time() * 1000)
        points = {key: self.client.get_metric_history(run.info.run_id, key) for key in values}
        stored = {key: max(found, key=lambda point: point.timestamp).value for key, found in points.items() if found}
        metrics = [Metric(key, value, now, 0, model_id=model_id) for key, value in values.items() if stored.get(key) != value]
        write(self.client, run.info.run_id, metrics=metrics, tags={"simlm.model_id": model_id, EVALUATED: mark})

    def _made(self, stage: Stage) -> str | None:
        """The system that a stage makes, if it makes one: where there is no model, the stage that writes its judged runs counts."""
        name = stage.subject or LEXICAL
        block = self.experiment.systems.get(name)
        return name if block and stage.kind == (block.made_by or block.runs_by) and stage.job.part is None else None

    def _model(self, stage: Stage, run: Run, system: str) -> str:
        """Find or create the MLflow model that points to the files instead of holding them."""
        block = self.experiment.system(system)
        tags = {
            "mlflow.model.isExternal": "true", identity.KEY: stage.record["key"],
            "simlm.path": str(self.paths.model(system) if block.trainer else self.paths.root / "runs" / system),
        }  # fmt: skip
        params = {safe_key(key): value[:250] for key, value in flatten(block.model_dump(mode="json")).items()}
        made_by = f"source_run_id = '{run.info.run_id}'"
        # One may be there already, if the replay that made it was cut off before it noted so.
        model = identity.once(
            lambda: next(iter(self.client.search_logged_models([self.experiment_id], filter_string=made_by)), None),
            lambda: self.client.create_logged_model(
                self.experiment_id, name=system, source_run_id=run.info.run_id, tags=tags, params=params, model_type=block.kind
            ),
        )
        self.client.finalize_logged_model(model.model_id, "READY")
        return model.model_id

    def _parent(self, parent: Run, stages: list[Stage], end: int) -> None:
        """Headline metrics, settings, data set, files and description of the configuration's run."""
        from mlflow.entities import Metric

        run_id, had = parent.info.run_id, parent.data
        now = int(time.time() * 1000)
        values = headline_metrics(self.experiment, self.rows)
        values["system/seconds"] = round(sum(stage.seconds for stage in stages), 1)
        peaks = [stage.peak_memory_mib for stage in stages if stage.peak_memory_mib]
        if peaks:
            values["system/peak_memory_mib"] = max(peaks)
        verdicts = read_rows(self.paths.reproduction, gate.Verdict) if self.paths.reproduction.exists() else []
        values |= {f"reproduction/{word.replace(' ', '_')}": float(count) for word, count in gate.counts(verdicts).items() if verdicts}
        metrics = [Metric(key, value, now, 0) for key, value in values.items() if math.isfinite(value) and had.metrics.get(key) != value]
        params = {} if had.params else flatten(identity.identifying_settings(self.experiment))
        tags = {"mlflow.note.content": description(self.experiment, self.rows), **self._corpus(parent), **pair_tags(self.experiment, self.paths.pairs)}
        if verdicts:
            tags["simlm.reproduction"] = gate.summary(verdicts)
            tags |= {f"simlm.reproduction.{line.split}.{line.system}.{mlflow_name(line.metric)}": line.verdict for line in verdicts}
        newest = max(stages, key=lambda stage: stage.record.get("end", ""), default=None)
        if newest:
            tags |= _shared_tags(newest)
        tags |= {f"simlm.elsewhere.{name}": differing for name, differing in elsewhere(stages).items()}
        write(self.client, run_id, metrics=metrics, params=params, tags={key: value for key, value in tags.items() if had.tags.get(key) != value})
        with experiment_artifacts(self.paths, stages) as folder:
            digest = folder_digest(folder)
            if had.tags.get("simlm.artifacts") != digest:
                self.client.log_artifacts(run_id, str(folder))
                self.client.set_tag(run_id, "simlm.artifacts", digest)
        if parent.info.status != "FINISHED" or parent.info.end_time != end:
            self.client.set_terminated(run_id, "FINISHED", end_time=end)

    def _corpus(self, parent: Run) -> dict[str, str]:
        """Log the corpus as the run's data set, by digest and source, without copying it; returns its tags."""
        file = self.paths.corpus / "manifest.json"
        if not file.exists():
            return {}
        manifest = read_manifest(file, "the manifest of a corpus", "simlm prepare-corpus", {"sha256": str})
        sha256 = str(manifest.get("sha256", ""))
        if sha256 and parent.data.tags.get("simlm.corpus_sha256") != sha256:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            source = json.dumps(self.experiment.corpus.model_dump(mode="json"))
            profile = json.dumps({key: value for key, value in manifest.items() if key in ("passages", "splits", "dropped", "versions")}, default=str)
            dataset = Dataset(f"{self.experiment.name}: {self.experiment.corpus.source}", sha256[:36], "simlm", source, profile=profile[:16_000])
            self.client.log_inputs(parent.info.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "corpus")])])
        return {"simlm.corpus_sha256": sha256} if sha256 else {}


def write(client: MlflowClient, run_id: str, *, metrics: list[Any] = (), params: dict[str, str] | None = None, tags: dict[str, str] | None = None) -> None:
    """``log_batch`` in the portions MLflow accepts (1,000 metrics, 100 parameters, 100 tags)."""
    from mlflow.entities import Param, RunTag

    metrics = list(metrics)
    all_params = [Param(safe_key(key), value) for key, value in (params or {}).items()]
    all_tags = [RunTag(key[:250], str(value)[:5000]) for key, value in (tags or {}).items()]
    while metrics or all_params or all_tags:
        client.log_batch(run_id, metrics=metrics[:800], params=all_params[:100], tags=all_tags[:100])
        metrics, all_params, all_tags = metrics[800:], all_params[100:], all_tags[100:]


def stage_metrics(stage: Stage, known: dict[str, set[int]]) -> list[Any]:
    """Curve, final numbers and measurements of a stage as MLflow metrics, without the steps in ``known``.

    The history holds no clock, so the points are spread evenly between the stage's start and end.
    """
    from mlflow.entities import Metric

    begin, end = stage.times()
    last = max((int(line.get("step", 0)) for line in stage.history), default=0) or 1
    metrics, curves = [], set()
    for line in stage.history:
        step = int(line.get("step", 0))
        moment = begin + (end - begin) * step // last
        for name, raw in line.items():
            value, key = number(raw), mlflow_name(name)
            if name == "step" or value is None or not math.isfinite(value):
                continue
            curves.add(key)
            if step not in known.get(key, ()):
                metrics.append(Metric(key, value, moment, step))
    finals = {mlflow_name(name): number(value) for name, value in stage.record.get("metrics", {}).items()}
    finals |= {"system/seconds": stage.seconds, "system/peak_memory_mib": stage.peak_memory_mib, "system/cpu_seconds": stage.cpu_seconds}
    for key, value in finals.items():
        if key not in curves and not known.get(key) and value is not None and math.isfinite(value):
            metrics.append(Metric(key, value, end, 0))
    return metrics


def _stage_params(stage: Stage) -> dict[str, str]:
    settings = stage.record.get("settings") or {}
    return flatten(settings) if settings else {}


def _key(stage: Stage) -> str:
    precision = str(stage.record.get("notes", {}).get("precision", "")).partition(":")[0]
    return identity.run_key(stage.record["key"], {**(stage.record.get("hardware") or {}), "precision": precision})


def stage_tags(stage: Stage) -> dict[str, str]:
    inputs = {name: entry for name, entry in stage.record.get("inputs", {}).items() if isinstance(entry, dict)}
    tags = {f"simlm.input.{safe_key(name)}": str(entry.get("sha256")) for name, entry in inputs.items()}
    tags |= {
        f"simlm.note.{safe_key(name)}": value if isinstance(value, str) else json.dumps(value, default=str)
        for name, value in stage.record.get("notes", {}).items()
    }
    return tags | _shared_tags(stage)


def _shared_tags(stage: Stage) -> dict[str, str]:
    record = stage.record
    git = record.get("git") or {}
    tags = {f"simlm.environment.{name}": version for name, version in record.get("environment", {}).items()}
    tags |= {f"simlm.hardware.{name}": str(value) for name, value in record.get("hardware", {}).items()}
    if git.get("commit"):
        tags |= {"mlflow.source.git.commit": str(git["commit"]), "mlflow.source.git.dirty": str(bool(git.get("dirty"))).lower()}
    return tags


def summary(done: Mirrored, store: Store, key: str) -> dict[str, Any]:
    """What goes into ``mlflow.json``."""
    return {
        "complete": True, "uri": store.shown, "experiment": store.experiment, "experiment_id": done.experiment_id,
        "parent": {"run_id": done.parent, "key": key}, "stages": done.runs,
    }  # fmt: skip
