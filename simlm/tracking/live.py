"""Streams a training's numbers to MLflow while it runs. It may lose points, never a training, nor more than a second or two of it."""

from __future__ import annotations

import atexit
import math
import queue
import threading
import time
from typing import Any

from simlm.context import Context
from simlm.progress import say
from simlm.records.stages import number
from simlm.secrets import without_secrets
from simlm.tracking.names import mlflow_name

CALL, HELLO, GOODBYE = 10.0, 2.0, 2.0
"""Seconds of one call, of the server's first word, and for sending what is left when the training ends."""


class LiveMirror:
    """Opens the run of one stage and sends what is logged, from a thread of its own.

    A slow or dead server costs nothing but the points, which the replay at the end of the workflow
    (``simlm track``) takes from the history file. Steps that MLflow already has are not sent again, so a resumed
    training continues its curve.

    Parameters
    ----------
    context
        The experiment.
    stage
        Name of the stage, such as ``train.simlm``.
    key
        Key of the stage's record.
    """

    def __init__(self, context: Context, stage: str, key: str) -> None:
        self.context, self.stage, self.key = context, stage, key
        self.points: queue.Queue[tuple[int, int, dict[str, Any]] | None] = queue.Queue(maxsize=10_000)
        self.failed = False
        self.begun: list[str] = []
        self.thread = threading.Thread(target=self._send, name=f"mlflow-{stage}", daemon=True)
        self.thread.start()
        atexit.register(self.close)

    def log(self, step: int, values: dict[str, Any]) -> None:
        """Queue the numbers of one step; returns at once."""
        if self.failed:
            return
        try:
            self.points.put_nowait((step, int(time.time() * 1000), dict(values)))
        except queue.Full:
            self._give_up("it does not keep up")

    def close(self, seconds: float = GOODBYE) -> None:
        """Send what is queued and end the run, waiting at most ``seconds``."""
        atexit.unregister(self.close)
        if self.thread.is_alive() and not self.failed:
            try:
                self.points.put_nowait(None)
            except queue.Full:
                return
            self.thread.join(seconds)
            if self.thread.is_alive():
                self._give_up("it is too slow")

    def _give_up(self, reason: object) -> None:
        if not self.failed:
            self.failed = True
            why = without_secrets((str(reason).splitlines() or [repr(reason)])[0])
            say(f"MLflow gets no more live points of {self.stage} ({why}); `simlm track` will mirror them from the history file.")

    def _send(self) -> None:
        try:
            client, run_id, last = self._open()
            while (batch := self._take()) is not None:
                self._log(client, run_id, last, batch)
            # Not complete until the replay has written the rest, but if that never comes they must not run for ever.
            for begun in self.begun:
                client.set_terminated(begun, "FINISHED")
        except Exception as error:
            self._give_up(error)

    def _take(self) -> list[tuple[int, int, dict[str, Any]]] | None:
        """Wait for a point and take with it whatever else is waiting; None at the end."""
        first = self.points.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < 50:
            try:
                item = self.points.get_nowait()
            except queue.Empty:
                break
            if item is None:
                self.points.put_nowait(None)
                break
            batch.append(item)
        return batch

    def _open(self) -> tuple[Any, str, dict[str, int]]:
        """Find or create the stage's run; returns the client, the run and the last step of each metric."""
        from simlm.tracking import identity
        from simlm.tracking.owner import owner_of
        from simlm.tracking.store import exclusive, initialise, store_of

        experiment, paths = self.context.experiment, self.context.paths
        store = store_of(experiment, paths.root.parent)
        now = int(time.time() * 1000)
        with exclusive(store):
            client, experiment_id = initialise(store, seconds=CALL, total=math.inf, hello=HELLO)
            parent = identity.open_parent(client, experiment_id, experiment, owner_of(paths.root), now)
            run = next(iter(identity.find_children(client, experiment_id, parent).get(self.stage, ())), None)
            if run is not None and (identity.is_complete(run) or run.data.tags.get(identity.KEY) != self.key):
                # A finished or different training: this one takes its place.
                identity.give_way(client, run, self.key)
                run = None
            run = run or identity.open_child(client, experiment_id, parent, self.stage, self.key, now)
            for begun in (parent, run):
                if begun.info.status != "RUNNING":
                    client.update_run(begun.info.run_id, "RUNNING")
        self.begun = [run.info.run_id, parent.info.run_id]
        run_id = run.info.run_id
        last = {key: max(point.step for point in client.get_metric_history(run_id, key)) for key in run.data.metrics}
        return client, run_id, last

    def _log(self, client: Any, run_id: str, last: dict[str, int], batch: list[tuple[int, int, dict[str, Any]]]) -> None:
        from mlflow.entities import Metric

        metrics = []
        for step, moment, values in batch:
            for name, raw in values.items():
                key, value = mlflow_name(name), number(raw)
                if value is None or not math.isfinite(value) or step <= last.get(key, -1):
                    continue
                last[key] = step
                metrics.append(Metric(key, value, moment, step))
        for i in range(0, len(metrics), 800):
            client.log_batch(run_id, metrics=metrics[i : i + 800])
