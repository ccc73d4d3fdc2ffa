"""By which keys runs are found again, so that a replay continues or supersedes them and never doubles them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from simlm.config import Experiment
from simlm.config.embedding import Encoding
from simlm.files import sha256_text
from simlm.tracking.patience import TookTooLong, is_an_answer

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Entity = TypeVar("Entity")

KEY, PARENT_KEY, STAGE, DIGEST, SUPERSEDED = "simlm.key", "simlm.parent_key", "simlm.stage", "simlm.digest", "simlm.superseded_by"
OWNER = "simlm.owner"


def identifying_settings(experiment: Experiment) -> dict[str, Any]:
    """The resolved configuration without what cannot change a result (folders, shards, tracking, the probe).

    Threads of a training stay: on a CPU the last digits of its weights depend on them.
    """
    how = set(Encoding.how_not_what)
    models = {
        name: {**{field: True for field in block.how_not_what if field != "threads" or block.made_by != "train"}, "encoding": how}
        for name, block in experiment.models.items()
    }
    return experiment.model_dump(mode="json", exclude={"results": True, "tracking": True, "encoding": how, "models": models})


def parent_key(experiment: Experiment) -> str:
    """Key of the run that stands for the whole configuration."""
    return sha256_text(json.dumps(identifying_settings(experiment), sort_keys=True))[:16]


def run_key(key: str, arithmetic: Mapping[str, Any]) -> str:
    """Key of a stage's run: the stage's own, and the arithmetic that its digits depend on (``threads``, ``instructions``, ``precision``) where torch computed.

    >>> one, two = ({"threads": threads, "instructions": "AVX2", "precision": "fp32"} for threads in (1, 2))
    >>> run_key("abc", {"precision": "fp32"}), run_key("abc", one) == run_key("abc", two)
    ('abc', False)
    """
    found = [arithmetic.get(name) for name in ("threads", "instructions", "precision")]
    return sha256_text(json.dumps([key, *found]))[:16] if "instructions" in arithmetic else key


def once(find: Callable[[], Entity | None], create: Callable[[], Entity]) -> Entity:
    """The run or model that ``find`` finds, or else the one that ``create`` makes, and never both.

    When the answer to a creation is lost, what was created may be there all the same, so it is looked for before the creation is
    tried again; what comes late none the less is swept away afterwards (:func:`settle`).
    """
    found = find()
    if found is not None:
        return found
    for last in (False, True):
        try:
            return create()
        except Exception as error:
            if is_an_answer(error):
                raise
            found = find()
            if found is not None:
                return found
            if last or isinstance(error, TookTooLong):
                raise
    raise AssertionError


def search(client: MlflowClient, experiment_id: str, owner: str, **tags: str) -> list[Run]:
    """All active runs of an owner with some tags (``simlm_key`` for ``simlm.key``), the oldest first."""
    wanted = {OWNER: owner, **{name.replace("_", ".", 1): value for name, value in tags.items()}}
    query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in wanted.items())
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], query, max_results=1000, order_by=["attributes.start_time ASC"], page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def find_parent(client: MlflowClient, experiment_id: str, key: str, owner: str) -> Run | None:
    """The run of a configuration in a results folder, if it was mirrored before."""
    found = search(client, experiment_id, owner, simlm_key=key, simlm_stage="experiment")
    return found[0] if found else None


def open_parent(client: MlflowClient, experiment_id: str, experiment: Experiment, owner: str, start: int) -> Run:
    """Find or create the run of a configuration; ``start`` in milliseconds since 1970."""
    key = parent_key(experiment)
    tags = {KEY: key, OWNER: owner, STAGE: "experiment", "mlflow.source.type": "PROJECT", "mlflow.source.name": "simlm"}
    return once(
        lambda: find_parent(client, experiment_id, key, owner),
        lambda: client.create_run(experiment_id, start_time=start, tags=tags, run_name=experiment.name),
    )


def find_children(client: MlflowClient, experiment_id: str, parent: Run) -> dict[str, list[Run]]:
    """Stage name → its active runs below a configuration's run of the same owner, the one to go on with first.

    More than one is there when the answer to a creation came too late to be believed.
    """
    children: dict[str, list[Run]] = {}
    for run in search(client, experiment_id, parent.data.tags[OWNER], mlflow_parentRunId=parent.info.run_id):
        children.setdefault(run.data.tags.get(STAGE, ""), []).append(run)
    return {stage: sorted(runs, key=lambda run: not is_complete(run)) for stage, runs in children.items()}


def is_complete(run: Run) -> bool:
    """Whether a stage's run was written to its end (not a live one, nor that of an interrupted replay)."""
    return DIGEST in run.data.tags and run.info.status == "FINISHED"


def open_child(client: MlflowClient, experiment_id: str, parent: Run, stage: str, key: str, start: int, tags: dict[str, str] | None = None) -> Run:
    """Create the run of a stage below its configuration's run."""
    owner = parent.data.tags[OWNER]
    tags = (tags or {}) | {
        KEY: key, OWNER: owner, PARENT_KEY: parent.data.tags.get(KEY, ""), STAGE: stage, "mlflow.parentRunId": parent.info.run_id,
        "mlflow.source.type": "PROJECT", "mlflow.source.name": f"simlm {stage.split('.', 1)[0].replace('_', '-')}",
    }  # fmt: skip

    def find() -> Run | None:
        runs = search(client, experiment_id, owner, mlflow_parentRunId=parent.info.run_id, simlm_stage=stage, simlm_key=key)
        return next(iter(runs), None)

    return once(find, lambda: client.create_run(experiment_id, start_time=start, tags=tags, run_name=stage))


def give_way(client: MlflowClient, run: Run, to: str) -> None:
    """Take a run of our own out of sight: end it, note what took its place, and delete it softly."""
    client.set_tag(run.info.run_id, SUPERSEDED, to)
    if run.info.status == "RUNNING":
        client.set_terminated(run.info.run_id, "KILLED")
    try:
        client.delete_run(run.info.run_id)
    except Exception:
        # Refused because it is done already, if only the answer was lost.
        if client.get_run(run.info.run_id).info.lifecycle_stage != "deleted":
            raise


def settle(client: MlflowClient, experiment_id: str, parent: Run) -> None:
    """Leave one run per stage, and none running that nobody writes to any more.

    Doubles of the configuration's run and of its stages give way to the first; runs of earlier configurations of this
    folder that were never ended, because their training was killed, are ended. Runs of other owners are not even looked at.
    """
    owner, kept = parent.data.tags[OWNER], parent.info.run_id
    for double in search(client, experiment_id, owner, simlm_key=parent.data.tags[KEY], simlm_stage="experiment"):
        if double.info.run_id != kept:
            for runs in find_children(client, experiment_id, double).values():
                for run in runs:
                    give_way(client, run, kept)
            give_way(client, double, kept)
    for first, *doubles in find_children(client, experiment_id, parent).values():
        for double in doubles:
            give_way(client, double, first.info.run_id)
    for run in search(client, experiment_id, owner):
        if run.info.status == "RUNNING" and kept not in (run.info.run_id, run.data.tags.get("mlflow.parentRunId")):
            client.set_terminated(run.info.run_id, "KILLED")
