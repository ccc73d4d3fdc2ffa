"""What the kinds say of themselves: SimLM only where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlm.config import load_experiment

CONFIG = Path(__file__).resolve().parents[2] / "config"
SMOKE = load_experiment(CONFIG / "smoke.yaml")
OBJECTIVES = load_experiment(CONFIG / "smoke.yaml", CONFIG / "objectives.yaml")
RELATIVES = ["encoder_decoder_mlm", "encoder_decoder_rtd", "condenser", "masked", "auto_encoder", "bag_of_words", "retromae"]


@pytest.mark.parametrize("name", [name for name, model in OBJECTIVES.models.items() if model.format])
def test_every_model_has_a_card(name):
    card = OBJECTIVES.models[name].card({})
    assert card.sentence.endswith(".")
    assert not card.sentence.startswith("A model of kind")


@pytest.mark.parametrize(
    "experiment", [SMOKE, load_experiment(CONFIG / "msmarco.yaml"), load_experiment(CONFIG / "msmarco.yaml", CONFIG / "authors-code.yaml")]
)
def test_simlm_is_called_simlm(experiment):
    model = experiment.models["simlm"]
    assert model.noun == model.about() == "SimLM pre-training"
    assert "(SimLM)" in model.card({}).sentence
    assert model.card({}).method.startswith("SimLM, arXiv")
    assert OBJECTIVES.models["joint_generator"].noun == model.noun  # a row of the paper's table


@pytest.mark.parametrize("name", RELATIVES)
def test_its_relatives_are_not(name):
    model = OBJECTIVES.models[name]
    assert model.noun == model.about() == "bottleneck pre-training"
    card = model.card({})
    assert "other objectives than SimLM's" in card.sentence
    assert card.method == ""
    retriever = OBJECTIVES.models[f"from_{name}"]
    assert f"starts from {name} (bottleneck pre-training)" in retriever.change("control", OBJECTIVES.models["control"], OBJECTIVES.systems)


def test_the_objectives_are_named():
    assert OBJECTIVES.models["condenser"].card({}).sentence.count("encoder: restore masked from masked text; decoder: condenser, restore masked") == 1
    assert "(encoder: restore masked from masked text; bag of words)" in OBJECTIVES.models["bag_of_words"].card({}).sentence
