"""Systems that are worse than what they were made of."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from made_results import made_configuration
from scipy import stats

from simlm.config import validate
from simlm.config.graph import compared_pairs, expected_above, published_start
from simlm.evaluation.shortfalls import shortfalls

GRAPH = {
    "start": {"kind": "given_biencoder", "init": "owner/encoder"},
    "first": {"kind": "biencoder", "init": "start", "negatives": "bm25", "epochs": 1},
    "reranker": {"kind": "crossencoder", "init": "start", "negatives": "bm25", "epochs": 1},
    "second": {"kind": "biencoder", "init": "first", "negatives": "first", "teacher": "reranker", "epochs": 1},
    "fusion": {"kind": "fusion", "of": ["second", "bm25"]},
}


@pytest.fixture
def experiment(tmp_path):
    values = made_configuration(tmp_path, models=copy.deepcopy(GRAPH))
    values["evaluate"] |= {"systems": ["bm25", *GRAPH], "main_metric": "nDCG@10"}
    return validate(values)


def values_of(levels: dict[str, float], spread: float = 0.05):
    random = np.random.default_rng(0)
    base = random.random(200) / 2
    return {name: {"nDCG@10": base + level + spread * random.standard_normal(200)} for name, level in levels.items()}


def test_each_is_held_against_what_it_was_made_of(experiment):
    assert expected_above(experiment) == [
        ("first", "start"), ("reranker", "bm25"), ("second", "first"), ("second", "start"), ("reranker", "second"), ("fusion", "second"), ("fusion", "bm25"),
    ]  # fmt: skip


def test_the_published_start_is_tested_behind_several_trainings(experiment):
    assert published_start(experiment, "second") == ["start"]
    assert ("second", "start") in compared_pairs(experiment)


def test_what_is_worse_is_said_with_its_figures_and_its_setting(experiment):
    values = values_of({"bm25": 0.4, "start": 0.3, "first": 0.2, "reranker": 0.3, "second": 0.35, "fusion": 0.38})
    said = {sentence.partition(" (")[0]: sentence for sentence in shortfalls(experiment, values)}
    assert list(said) == [
        "first is worse than start", "reranker is worse than bm25", "reranker is worse than second", "fusion is worse than bm25",
    ]  # fmt: skip
    own, other = (values[name]["nDCG@10"] for name in ("first", "start"))
    assert f"nDCG@10 on test {own.mean():.4f} against {other.mean():.4f}, p < 0.001" in said["first is worse than start"]
    settings = ("models.first.learning_rate", "models.reranker.rerank_depth", "second's teacher", "models.fusion")
    assert all(setting in sentence for setting, sentence in zip(settings, said.values()))


def test_what_may_be_chance_is_not_said(experiment):
    values = values_of(dict.fromkeys(("bm25", "start", "reranker", "second", "fusion"), 0.3) | {"first": 0.28}, spread=0.2)
    own, other = (values[name]["nDCG@10"] for name in ("first", "start"))
    assert own.mean() < other.mean()
    assert stats.ttest_rel(own, other).pvalue > 0.05
    assert not [sentence for sentence in shortfalls(experiment, values) if sentence.startswith("first")]


def test_an_unjudged_start_is_not_spoken_of(experiment):
    values = made_configuration(experiment.results)
    assert expected_above(validate(values)) == [
        ("reranker", "retriever2"), ("reranker", "distilled"), ("fusion", "distilled"), ("fusion", "bm25"),
    ]  # fmt: skip
