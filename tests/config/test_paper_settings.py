"""The shipped configurations of MS MARCO: the paper's numbers, and no choice that looks at the judged queries."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlm.config import load_experiment
from simlm.config.graph import needed_models
from simlm.config.remote import hub_models, remote_inputs
from simlm.corpus.counts import expected_counts

CONFIG = Path(__file__).resolve().parents[2] / "config"
FULL, BUDGET, RELEASED = (load_experiment(CONFIG / f"{name}.yaml") for name in ("msmarco", "msmarco-budget", "released"))

PAPER = {
    # Appendix of arXiv 2207.02578, and section 4.1 for lengths and depths.
    "simlm": {"steps": 80_000, "batch_size": 2048, "learning_rate": 3e-4, "warmup_steps": 4000, "max_length": 144, "encoder_mask": 0.3, "decoder_mask": 0.5}
    | {"decoder_layers": 2, "train_generator": False, "label_fraction": 1.0},
    "retriever1": {"epochs": 3, "batch_size": 64, "learning_rate": 2e-5, "warmup_steps": 1000, "hard_negatives": 15, "temperature": 0.02},
    "retriever2": {"epochs": 3, "batch_size": 64, "learning_rate": 2e-5, "warmup_steps": 1000, "hard_negatives": 15, "query_length": 32, "passage_length": 144},
    "reranker": {"epochs": 3, "batch_size": 64, "learning_rate": 3e-5, "warmup_steps": 1000, "hard_negatives": 63, "max_length": 192, "rerank_depth": 200}
    | {"forward_factor": 4, "rdrop_weight": 1.0, "negatives": "retriever2", "init": "google/electra-base-discriminator"},
    "distilled": {"epochs": 6, "batch_size": 64, "learning_rate": 3e-5, "warmup_steps": 1000, "hard_negatives": 23, "contrastive_weight": 0.2}
    | {"temperature": 0.02, "init": "simlm", "teacher": "reranker", "negatives": "retriever2"},
}


@pytest.mark.parametrize("name", PAPER)
def test_settings_of_the_paper(name):
    block = FULL.models[name].model_dump()
    assert {key: block[key] for key in PAPER[name]} == PAPER[name]
    assert block["weight_decay"] == 0


def test_shape_of_the_graph():
    assert needed_models(FULL) == ["simlm", "retriever1", "retriever2", "reranker", "distilled"]
    assert FULL.models["simlm"].generator == "google/electra-base-generator"
    assert FULL.models["reranker"].candidates() == "retriever2"
    assert FULL.negatives.model_dump() == {
        "relevance": 1,
        "answers": "ignored",
        "depth": 200,
        "sample": 200,
        "pad_to": 210,
        "padding": "last",
        "drop_above": None,
    }
    assert FULL.evaluate.systems == ["bm25", "retriever1", "retriever2", "reranker", "distilled"]


@pytest.mark.parametrize("experiment", [FULL, BUDGET, RELEASED], ids=lambda experiment: experiment.name)
def test_splits_counts_and_relevance(experiment):
    counts = expected_counts(experiment.corpus)
    assert counts.passages == 8_841_823
    assert {"dev": 6980, "dl19": 43, "dl20": 54}.items() <= counts.queries.items()
    assert counts.queries.get("train", 502_939) == 502_939
    assert {name: split.relevance for name, split in experiment.evaluate.splits.items()} == {"dev": 1, "dl19": 2, "dl20": 2}
    assert experiment.corpus.max_passages is None
    assert experiment.corpus.title_source() == "Tevatron/msmarco-passage-corpus"


@pytest.mark.parametrize("experiment", [FULL, BUDGET, RELEASED], ids=lambda experiment: experiment.name)
def test_nothing_is_chosen_on_judged_queries(experiment):
    judged = set(experiment.evaluate.splits)
    if len(experiment.bm25.analyzers) > 1:
        assert experiment.bm25.select_on not in judged
    for model in experiment.models.values():
        probe = getattr(model, "probe", None)
        assert probe is None or probe.split not in judged
        if model.made_by == "train" and model.kind in ("biencoder", "crossencoder"):
            assert model.holdout > 0


def test_the_budget_differs_in_pretraining_and_hardware_alone():
    full, budget = FULL.model_dump(), BUDGET.model_dump()
    simlm = budget["models"]["simlm"]
    assert simlm["steps"] == 10_000
    simlm.update(steps=80_000, probe=full["models"]["simlm"]["probe"])
    for values in (full, budget):
        values.pop("name")
        for model in values["models"].values():
            model.pop("gpus")
    assert budget == full
    assert {model.gpus for model in BUDGET.models.values()} == {1}


def test_batches_can_be_divided_among_the_devices():
    for experiment in (FULL, BUDGET):
        for model in experiment.models.values():
            share = model.batch_size // model.gpus
            assert model.batch_size % model.gpus == 0
            assert share % min(share, model.micro_batch_size) == 0


def test_what_is_fetched():
    assert hub_models(FULL) == ["google-bert/bert-base-uncased", "google/electra-base-generator", "google/electra-base-discriminator"]
    ours, others = ["intfloat/simlm-base-msmarco-finetuned", "intfloat/simlm-msmarco-reranker"], ["colbert-ir/colbertv2.0", "Luyu/co-condenser-marco-retriever"]
    assert hub_models(RELEASED) == ours + others
    assert remote_inputs(RELEASED)["corpus"]["titles"] == "Tevatron/msmarco-passage-corpus"
    assert RELEASED.models["reranker"].untitled == "dash"


def test_nothing_is_fetched_for_what_is_at_hand(monkeypatch):
    monkeypatch.chdir(CONFIG.parent)
    for name in ("config", "smoke", "pretrained"):
        assert remote_inputs(load_experiment(CONFIG / f"{name}.yaml")) == {}
