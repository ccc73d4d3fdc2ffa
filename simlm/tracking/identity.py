"""By which keys runs are found again, so that a replay continues or supersedes them and never doubles them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from simlm.config import Experiment
from simlm.config.experiment import Encoding
from simlm.files import sha256_text

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

KEY, PARENT_KEY, STAGE, DIGEST, SUPERSEDED = "simlm.key", "simlm.parent_key", "simlm.stage", "simlm.digest", "simlm.superseded_by"


def identifying_settings(experiment: Experiment) -> dict[str, Any]:
    """The resolved configuration without what cannot change a result (folders, threads, shards, tracking)."""
    models = {name: set(block.how_not_what) for name, block in experiment.models.items()}
    return experiment.model_dump(mode="json", exclude={"results": True, "tracking": True, "encoding": set(Encoding.how_not_what), "models": models})


def parent_key(experiment: Experiment) -> str:
    """Key of the run that stands for the whole configuration."""
    return sha256_text(json.dumps(identifying_settings(experiment), sort_keys=True))[:16]


def find_parent(client: MlflowClient, experiment_id: str, key: str) -> Run | None:
    """The active parent run of a configuration, if it was mirrored before."""
    found = client.search_runs([experiment_id], f"tags.`{KEY}` = '{key}' and tags.`{STAGE}` = 'experiment'", max_results=1)
    return found[0] if found else None


def create_parent(client: MlflowClient, experiment_id: str, experiment: Experiment, start: int) -> Run:
    """Create the run of a configuration; ``start`` in milliseconds since 1970."""
    tags = {KEY: parent_key(experiment), STAGE: "experiment", "mlflow.source.type": "PROJECT", "mlflow.source.name": "simlm"}
    return client.create_run(experiment_id, start_time=start, tags=tags, run_name=experiment.name)


def find_children(client: MlflowClient, experiment_id: str, parent_id: str) -> dict[str, Run]:
    """Stage name → active child run."""
    children: dict[str, Run] = {}
    token = None
    while True:
        page = client.search_runs([experiment_id], f"tags.`mlflow.parentRunId` = '{parent_id}'", max_results=1000, page_token=token)
        for run in page:
            children.setdefault(run.data.tags.get(STAGE, ""), run)
        token = page.token
        if not token:
            return children


def is_complete(run: Run) -> bool:
    """Whether a stage's run was written to its end (not a live one, nor that of an interrupted replay)."""
    return DIGEST in run.data.tags and run.info.status == "FINISHED"


def create_child(client: MlflowClient, experiment_id: str, parent: Run, stage: str, key: str, start: int, tags: dict[str, str] | None = None) -> Run:
    """Create the run of a stage below its configuration's run."""
    tags = (tags or {}) | {
        KEY: key, PARENT_KEY: parent.data.tags.get(KEY, ""), STAGE: stage, "mlflow.parentRunId": parent.info.run_id,
        "mlflow.source.type": "PROJECT", "mlflow.source.name": f"simlm {stage.split('.', 1)[0].replace('_', '-')}",
    }  # fmt: skip
    return client.create_run(experiment_id, start_time=start, tags=tags, run_name=stage)
