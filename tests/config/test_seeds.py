"""A model with ``seeds`` is a node per seed, and all that is built on it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from simlm.config import load_experiment, validate
from simlm.config.jobs import jobs
from simlm.config.load import resolved
from simlm.config.stages import settings_of
from simlm.errors import UserError

SMALL = {"steps": 4, "batch_size": 8}
DENSE = {"kind": "biencoder", "negatives": "bm25", "hard_negatives": 1, **SMALL}


def values(**over):
    models = {
        "base": {"kind": "mlm", "size": {}, **SMALL},
        "masked": {"kind": "mlm", "init": "base", "seeds": [1, 7], **SMALL},
        "retriever": {**DENSE, "init": "masked"},
        "mined": {**DENSE, "init": "base", "negatives": "retriever"},
        "control": {**DENSE, "init": "base", "seeds": [3, 4, 5]},
        "alone": {**DENSE, "init": "base"},
        "fusion": {"kind": "fusion", "of": ["bm25", "mined"]},
    }
    models |= over.pop("models", {})
    return {
        "name": "seeded",
        "corpus": {"source": "beir", "path": "data", "splits": {"train": "train", "test": "test"}},
        "models": models,
        "evaluate": {"systems": ["bm25", "retriever", "mined", "control", "alone", "fusion"], "splits": {"test": {}}, "main_split": "test"},
        **over,
    }


def test_what_is_built_on_a_model_of_several_seeds_has_them_too_and_the_rest_is_shared():
    experiment = validate(values())
    assert list(experiment.models) == [
        *("base", "masked-s1", "masked-s7", "retriever-s1", "retriever-s7", "mined-s1", "mined-s7"),
        *("control-s3", "control-s4", "control-s5", "alone", "fusion-s1", "fusion-s7"),
    ]
    models = experiment.models
    assert [(models[name].init, models[name].seed) for name in ("masked-s7", "retriever-s7", "control-s3")] == [("base", 7), ("masked-s7", 7), ("base", 3)]
    assert models["mined-s1"].negatives == "retriever-s1"
    assert models["fusion-s7"].of == ["bm25", "mined-s7"]
    assert models["alone"].seed is None
    assert experiment.variants == {name: [f"{name}-s1", f"{name}-s7"] for name in ("retriever", "mined", "fusion")} | {
        "control": ["control-s3", "control-s4", "control-s5"]
    }
    assert experiment.evaluate.systems[:3] == ["bm25", "retriever-s1", "retriever-s7"]
    made = [job.label for job in jobs(experiment)]
    assert made.count("train.base") == made.count("mine_negatives.bm25") == 1
    assert "mine_negatives.retriever-s7" in made
    assert settings_of(experiment, "train", "retriever-s7")["seed"] == 7


def test_the_written_out_configuration_gives_the_same_graph():
    experiment = validate(values())
    assert validate(yaml.safe_load(resolved(experiment))) == experiment


def test_a_seed_more_trains_nothing_again():
    two = validate(values())
    three = validate(values(models={"masked": {"kind": "mlm", "init": "base", "seeds": [1, 7, 8], **SMALL}}))
    for name in ("masked-s1", "retriever-s7", "mined-s1", "control-s3", "base"):
        assert settings_of(two, "train", name) == settings_of(three, "train", name)


def test_seeds_reach_a_chain_written_in_any_order():
    chain = {"last": {**DENSE, "init": "middle"}, "middle": {**DENSE, "init": "first"}, "first": {**DENSE, "init": "base", "seeds": [2]}}
    block = values(models=chain)
    block["models"] = {**chain, **block["models"]}
    assert validate(block).models["last-s2"].init == "middle-s2"


@pytest.mark.parametrize(
    ("over", "sentence"),
    [
        ({"models": {"retriever": {**DENSE, "init": "masked", "seeds": [1, 2]}}}, r"models.retriever: it has the seeds \[1, 2\], but 'masked'.* \[1, 7\]"),
        ({"models": {"masked-s1": {"kind": "mlm", "init": "base", **SMALL}}}, "models.masked-s1: this is the name of what 'seeds' makes of 'masked'"),
        ({"models": {"alone": {**DENSE, "init": "base", "seeds": [1, 1]}}}, "models.alone.seeds: name each seed once"),
        ({"models": {"alone": {**DENSE, "init": "base", "seeds": [1], "seed": 2}}}, "give 'seed' or 'seeds', not both"),
        ({"variants": {"mine": ["alone", "nobody"]}}, "variants.mine: 'nobody' is not among the evaluated systems"),
        ({"variants": {"mine": ["alone"], "other": ["alone"]}}, "'alone' is listed twice, in 'mine' and here"),
        ({"variants": {"bm25": ["alone"]}}, "must not have the name of another system"),
    ],
)
def test_mistakes_are_named(over, sentence):
    with pytest.raises(UserError, match=sentence):
        validate(values(**over))


def test_a_baseline_of_several_seeds_is_refused():
    block = values()
    block["evaluate"]["baseline"] = "control"
    with pytest.raises(UserError, match=r"evaluate.baseline: 'control' has a node per seed; name one of them, such as control-s3"):
        validate(block)


def test_a_mistake_in_a_node_of_a_seed_has_the_line_of_its_model(tmp_path):
    block = values(models={"masked": {"kind": "mlm", "init": "bse", "seeds": [1], **SMALL}})
    file: Path = tmp_path / "seeded.yaml"
    file.write_text(yaml.safe_dump(block, sort_keys=False))
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if "init: bse" in text)
    with pytest.raises(UserError, match=rf"seeded.yaml:{line}: models.masked-s1.init: no model is called 'bse'"):
        load_experiment(file)
