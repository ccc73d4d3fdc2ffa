"""What runs first where two jobs could: the stages that more trainings wait for, counted by hand in the default's graph."""

from __future__ import annotations

from pathlib import Path

from simlm.config import load_experiment
from simlm.config.graph import trainings_waiting

DEFAULT = load_experiment(Path(__file__).resolve().parents[2] / "config" / "config.yaml")


def test_the_chain_to_the_distilled_retriever_comes_first():
    """bm25 → retriever1 → retriever2 → distilled, simlm → the same three, retriever1 → reranker → distilled."""
    expected = {"bm25": 3, "simlm": 3, "retriever1": 2, "retriever2": 1, "reranker": 1, "control": 0, "distilled": 0, "fusion": 0}
    waiting = trainings_waiting(DEFAULT)
    assert {system: waiting.get(system, 0) for system in expected} == expected


def test_what_no_evaluated_system_needs_waits_for_nothing():
    alone = DEFAULT.model_copy(update={"evaluate": DEFAULT.evaluate.model_copy(update={"systems": ["bm25", "control"]})})
    assert trainings_waiting(alone) == {"bm25": 1, "control": 0}


def test_a_copy_has_systems_of_its_own():
    assert "control" in DEFAULT.systems
    fewer = DEFAULT.model_copy(update={"models": {"simlm": DEFAULT.models["simlm"]}})
    assert list(fewer.systems) == ["bm25", "simlm"]
    assert "control" in DEFAULT.systems
