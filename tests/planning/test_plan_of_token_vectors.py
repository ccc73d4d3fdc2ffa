"""What the plan says of models with a vector per token, against sums by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlm.config import load_experiment
from simlm.paths import Paths
from simlm.planning.costs import load_costs
from simlm.planning.counts import Counts
from simlm.planning.estimate import Planner
from simlm.planning.index_size import LISTED
from simlm.planning.lengths import mean_cut, tokens_of
from simlm.planning.work import COUNTED

ROOT = Path(__file__).resolve().parents[2]
PASSAGES = 400_000


@pytest.fixture
def stages(tmp_path):
    """Stages of the shipped example by name, with changes to one of its models."""

    def planned(**changes):
        experiment = load_experiment(ROOT / "config/config.yaml", ROOT / "config/examples/colbertv2.yaml")
        block = experiment.models["colbert2"]
        models = {**experiment.models, "colbert2": block.model_copy(update=changes)}
        costs = load_costs()
        counts = Counts(PASSAGES, 50, {"train": 1000, "dev": 100, "test": 100}, "the test")
        planner = Planner(experiment.model_copy(update={"models": models}), Paths(tmp_path), counts, costs, costs.accelerator(None)[1])
        return {stage.stage: stage for stage in planner.stages()}

    return planned


def test_sizes_are_those_of_all_tokens(stages):
    found, vocabulary = stages(), 4_000
    tokens = mean_cut(tokens_of(50, vocabulary), 48)
    vectors = PASSAGES * COUNTED * tokens
    queries = 200 * 16 * 32 * 4
    # fp16; the tokens of passages are in the cache that the training before has made.
    assert found["encode.colbert2"].disk == pytest.approx(vectors * 32 * 2 + queries, rel=1e-6)
    # A code, 2 bits a number, a share of the lists; the centroids and where passages begin.
    assert found["build_index.colbert2"].disk == pytest.approx(vectors * (4 + 32 * 2 / 8 + 4 * LISTED) + 4096 * 32 * 4 + 8 * PASSAGES, rel=1e-6)


def test_what_an_index_saves_and_costs(stages):
    compressed, exact = stages(), stages(index=None)
    assert exact["build_index.colbert2"].disk < 10 * 2**20
    assert compressed["search_index.colbert2"].cpu < exact["search_index.colbert2"].cpu
    assert compressed["build_index.colbert2"].accelerator == 0
    encoding = load_experiment(ROOT / "config/config.yaml").encoding.model_copy(update={"gpus": 1})
    assert stages(encoding=encoding)["build_index.colbert2"].accelerator > 0


def test_a_borrowed_model_sorts_at_its_own_cost(stages):
    found = stages()
    longer = stages(passage_length=96)
    assert found["rerank.colbert2_over_bm25"].cpu < longer["rerank.colbert2_over_bm25"].cpu
    assert found["encode.colbert2"].cpu > 0
