"""What is foretold of a hybrid retriever: the width of its vectors, and the logits of all words in its embeddings and its training."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlm.config import load_experiment
from simlm.config.local_models import width_of
from simlm.paths import Paths
from simlm.planning.costs import load_costs
from simlm.planning.counts import Counts
from simlm.planning.estimate import Planner
from simlm.planning.shapes import outside

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENT = load_experiment(ROOT / "config/config.yaml", ROOT / "config/examples/dupmae.yaml")
PASSAGES, WIDTH = 10_000, 128 + 256


@pytest.fixture
def planner(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    costs = load_costs()
    counts = Counts(PASSAGES, 50, {"train": 1000, "dev": 10, "test": 10}, "the test")
    return Planner(EXPERIMENT, Paths(tmp_path), counts, costs, costs.accelerator(None)[1])


def test_its_vectors_have_two_parts(planner):
    hidden = outside("pretrained/pydocs-base").shape.hidden
    assert width_of(EXPERIMENT, "dupmae1") == planner.work.width("dupmae1") == WIDTH
    assert width_of(EXPERIMENT, "dupmae_cls") == planner.work.width("dupmae_cls") == hidden
    whole = EXPERIMENT.models["dupmae1"].model_copy(update={"cls_dimension": None, "word_dimension": None})
    assert whole.vector_width(hidden, 4096) == hidden + 4096
    stages = {stage.stage: stage for stage in planner.stages()}
    assert stages["build_index.dupmae1"].disk == PASSAGES * WIDTH * 4


def test_its_embeddings_cost_the_logits_of_all_words(planner):
    """Two operations for each weight of the head, at every token; a training looks through them once and goes back through none."""
    work, shape = planner.work, outside("pretrained/pydocs-base").shape
    head = {
        side: 2 * tokens * shape.hidden * (shape.hidden + shape.vocabulary)
        for side, tokens in (("passage", work._read("dupmae1")), ("query", work._asked("dupmae1")))
    }
    assert work.encoding("dupmae1") - shape.reading(work._read("dupmae1")) == pytest.approx(head["passage"])
    assert work.encoding("dupmae_cls") == pytest.approx(shape.reading(work._read("dupmae_cls"), first_only=True))
    block = EXPERIMENT.models["dupmae1"].model_copy(update={"holdout": 0, "hard_negatives": 1})
    experiment = EXPERIMENT.model_copy(update={"models": {**EXPERIMENT.models, "dupmae1": block}})
    planned = Planner(experiment, planner.paths, planner.counts, planner.costs, planner.accelerator).work
    body = shape.reading(work._asked("dupmae1")) + 2 * shape.reading(work._read("dupmae1"))
    step = block.batch_size * (3 * body + head["query"] + 2 * head["passage"])
    assert planned.training("dupmae1").operations == pytest.approx(planned.steps("dupmae1") * step)
