"""The first use of a store that does not exist yet, by many processes at the same moment."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from made_results import MadeResults

from simlm.records.stages import read_stages

PROCESSES = 6


@pytest.mark.slow
def test_many_processes_meet_on_a_fresh_store(tmp_path):
    # Experiments that share a results folder share its store; two of the commands are about the same one.
    experiments = [MadeResults(tmp_path / "results", name=f"experiment{i}") for i in range(PROCESSES - 2)]
    for made in experiments:
        for file in (made.paths.root / "stages").glob("*.json"):
            if file.stem not in ("prepare_corpus", "train.simlm", "evaluate"):
                file.unlink()
    calls = [["track", "--strict", "--config", str(made.paths.config)] for made in [*experiments, experiments[0]]]
    calls.append(["track", "--strict", "--init", "--config", str(experiments[1].paths.config)])
    file = tmp_path / "calls.json"
    file.write_text(json.dumps(calls))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    command = [sys.executable, str(Path(__file__).with_name("together.py")), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert json.loads(done.stdout.splitlines()[-1]) == [0] * PROCESSES, done.stderr[-3000:]

    with sqlite3.connect(tmp_path / "results" / "mlflow.db") as database:
        assert database.execute("select name, count(*) from experiments where name = 'simlm'").fetchall() == [("simlm", 1)]
        parents = "select r.name, count(*) from runs r join tags t using (run_uuid) where t.key = 'simlm.stage' and t.value = 'experiment' group by r.name"
        assert dict(database.execute(parents).fetchall()) == {made.experiment.name: 1 for made in experiments}
        children = (
            "select p.value, count(*) from tags p join runs r using (run_uuid) where p.key = 'mlflow.parentRunId' and r.status = 'FINISHED' group by p.value"
        )
        expected = {json.loads(made.paths.mirror.read_text())["parent"]["run_id"]: len(read_stages(made.experiment, made.paths)) for made in experiments}
        assert dict(database.execute(children).fetchall()) == expected
        double = "select count(*) from (select 1 from metrics group by run_uuid, key, step having count(*) > 1)"
        assert database.execute(double).fetchone() == (0,)
