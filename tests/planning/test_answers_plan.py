"""What looking for answers costs, and how many questions a file of them is known to have."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlm.config import load_experiment
from simlm.config.load import read_values, validate
from simlm.paths import Paths
from simlm.planning.counts import count
from simlm.planning.estimate import ANSWER_WORD
from tests.planning.test_joint_plan import planner

CONFIG = Path(__file__).resolve().parents[2] / "config"


def test_mining_and_judging_read_the_passages(tmp_path):
    values = read_values(CONFIG / "nq.yaml")
    seconds = {}
    for answers in ("positives", "ignored"):
        values["negatives"]["answers"] = answers
        plan = planner(validate(values), tmp_path)
        seconds[answers] = {stage.stage: stage.cpu for stage in plan.stages()}
    read = 1000 * 100 * plan.counts.words  # training questions, the top of each, its words
    assert seconds["positives"]["mine_negatives.bm25"] - seconds["ignored"]["mine_negatives.bm25"] == pytest.approx(read * ANSWER_WORD)
    assert seconds["positives"]["evaluate"] == seconds["ignored"]["evaluate"]


def test_the_size_of_the_collection_is_known(tmp_path):
    found = count(load_experiment(CONFIG / "nq.yaml"), Paths(tmp_path))
    assert (found.passages, found.words, found.queries, found.assumed) == (21_015_324, 103, {"train": 58_880, "test": 3_610}, [])
