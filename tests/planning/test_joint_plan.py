"""What is checked and foretold of a model of two parts, by the part: lengths, index, arithmetic, memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlm.config import load_experiment
from simlm.config.feasible import cautions
from simlm.config.graph import GraphError
from simlm.config.load import read_values, validate
from simlm.config.local_models import positions_of, width_of
from simlm.paths import Paths
from simlm.planning.costs import load_costs
from simlm.planning.counts import Counts
from simlm.planning.estimate import Planner
from simlm.planning.shapes import shape_of

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / "config/config.yaml", ROOT / "config/examples/rocketqav2.yaml"]
SMALL, LARGE = ({"layers": layers, "hidden": 64, "heads": 2, "intermediate": 128, "positions": positions} for layers, positions in ((2, 90), (4, 70)))


def experiment(**joint):
    """The example, its retriever from a small model and its re-ranker from a larger one that reads fewer tokens."""
    values = read_values(*FILES)
    mlm = {"kind": "mlm", "steps": 1, "batch_size": 8, "max_length": 48}
    values["models"] |= {"small": {**mlm, "size": SMALL}, "large": {**mlm, "size": LARGE}}
    values["models"]["joint"] |= {"init": "small", "reranker_init": "large", **joint}
    values["tokenizer"] = {"vocabulary": 1000}
    for name in ("retriever1", "reranker", "control"):
        values["models"][name]["init"] = "small"
    for name in ("simlm", "retriever2", "distilled", "fusion"):
        del values["models"][name]
    return validate(values)


def planner(made, folder) -> Planner:
    costs = load_costs()
    size = Counts(passages=10_000, words=50, queries={"train": 1000, "dev": 10, "test": 10}, source="the test")
    return Planner(made, Paths(folder), size, costs, costs.accelerator(None)[1])


def test_each_part_has_the_shape_of_its_own_start():
    made = experiment()
    assert [shape_of(made, f"joint.{part}").shape.layers for part in ("retriever", "reranker")] == [2, 4]
    assert [positions_of(made, f"joint.{part}") for part in ("retriever", "reranker")] == [90, 70]
    assert width_of(made, "joint.retriever") == 64


@pytest.mark.parametrize(("field", "length", "limit"), [("passage_length", 91, 90), ("query_length", 91, 90), ("max_length", 71, 70)])
def test_lengths_are_held_against_the_part_that_reads_them(field, length, limit):
    list(cautions(experiment(passage_length=90, max_length=70)))
    with pytest.raises(GraphError, match=f"{length} tokens are more than the {limit} positions") as refused:
        list(cautions(experiment(**{field: length})))
    assert refused.value.place == ("models", "joint", field)


def test_the_index_of_a_part_is_checked():
    with pytest.raises(GraphError, match="a Flat index has no cells to visit") as refused:
        list(cautions(experiment(index={"factory": "Flat", "nprobe": 3})))
    assert refused.value.place == ("models", "joint", "index", "nprobe")


def test_a_step_is_three_passes_of_both_models_over_every_list(tmp_path):
    plan = planner(experiment(steps=50, batch_size=8, hard_negatives=5, holdout=0), tmp_path)
    work = plan.work
    assert work.encoding("joint.retriever") > 0
    # Two more layers of the same width: about twice the arithmetic for the same text.
    of_lists = work.asking("joint.retriever") + 6 * work.encoding("joint.retriever") + 6 * work.scoring("joint.reranker")
    assert work.training("joint").operations == pytest.approx(3 * 50 * 8 * of_lists)
    assert work.scoring("joint.reranker") > 1.5 * work.scoring("reranker")


def test_memory_holds_both_models_and_the_teacher_scores_all_that_is_listed(tmp_path):
    made = experiment()
    plan = planner(made, tmp_path)
    train = {stage.stage: stage for stage in plan.stages()}["train.joint"]
    parameters = [shape_of(made, f"joint.{part}").shape.parameters() for part in ("retriever", "reranker")]
    assert train.disk >= 4 * sum(parameters)
    assert train.memory > 16 * sum(parameters)
    listed = max(made.negatives.sample, made.negatives.pad_to)
    assert plan.work.teacher_pairs("joint") == plan.work.train_queries("joint") * (1 + listed)


def test_the_shipped_files_plan_the_joint_training(tmp_path):
    full = load_experiment(ROOT / "config/msmarco.yaml", ROOT / "config/msmarco-systems.yaml")
    assert shape_of(full, "rocketqav2.reranker").shape.hidden == 768
