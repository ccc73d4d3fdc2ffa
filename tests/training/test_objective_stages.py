"""The overlay of pre-training objectives on a small corpus: each is trained by the stage, exported, and a retriever starts from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from simlm.config import load_experiment
from simlm.context import Context
from simlm.errors import UserError
from simlm.training.history import read_history
from tests.training.test_pretraining_stages import configuration, prepare, train_all, weights

OVERLAY = Path(__file__).parents[2] / "config" / "objectives.yaml"
MODELS = yaml.safe_load(OVERLAY.read_text())["models"]
OBJECTIVES = [name for name, block in MODELS.items() if block["kind"] == "bottleneck"]
TINY = {"steps": 8, "warmup_steps": 0, "batch_size": 8, "max_length": 32, "log_steps": 4, "holdout": 9, "probe": None}
LOSSES = {
    "encoder_decoder_mlm": {"encoder_loss", "decoder_loss"},
    "encoder_decoder_rtd": {"encoder_loss", "decoder_loss"},
    "joint_generator": {"encoder_loss", "decoder_loss", "generator_loss"},
    "condenser": {"encoder_loss", "decoder_loss"},
    "cocondenser": {"encoder_loss", "decoder_loss", "span_loss"},
    "masked": {"encoder_loss"},
    "auto_encoder": {"decoder_loss"},
    "bag_of_words": {"encoder_loss", "bag_of_words_loss"},
    "retromae": {"encoder_loss", "decoder_loss"},
    "dupmae": {"encoder_loss", "decoder_loss", "bag_of_words_loss"},
}


@pytest.fixture(scope="module")
def objectives(tmp_path_factory) -> Context:
    folder = tmp_path_factory.mktemp("objectives")
    context, _ = prepare(folder)
    values = configuration(folder)
    for name in OBJECTIVES:
        tiny = TINY | ({"max_length": 16, "micro_batch_size": 4} if "span_contrast" in MODELS[name] else {})
        values["models"][name] = MODELS[name] | tiny
        values["models"][f"more_{name}"] = MODELS[name] | tiny | {"init": name, "steps": 1}
        block = MODELS[f"from_{name}"] | {"steps": 1, "batch_size": 4, "holdout": 0, "warmup_steps": 0, "negatives": None, "hard_negatives": 0}
        values["models"][f"from_{name}"] = block | {"passage_length": 32, "query_length": 16}
    file = folder / "objectives.yaml"
    file.write_text(yaml.safe_dump(values))
    context = Context(load_experiment(file), context.paths)
    train_all(context, "base", "generator")
    return context


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_is_trained_exported_and_started_from(objectives: Context, name: str) -> None:
    if name == "cocondenser" and not (objectives.paths.model("condenser") / "simlm.json").exists():
        train_all(objectives, "condenser")
    train_all(objectives, name)
    lines = read_history(objectives.paths.history(name))
    losses = [line for line in lines if "loss" in line]
    assert [line["step"] for line in losses] == [4, 8]
    parts = LOSSES[name]
    assert parts | {f"held_out/{part}" for part in parts} == {key for line in lines for key in line if key.endswith("_loss")}
    assert all(0 < line["loss"] < 6 * len(parts) for line in losses)
    before, after = weights(objectives.paths.model("base")), weights(objectives.paths.model(name))
    assert before.keys() == after.keys()
    assert not torch.equal(before["bert.encoder.layer.0.attention.self.query.weight"], after["bert.encoder.layer.0.attention.self.query.weight"])
    train_all(objectives, f"more_{name}", f"from_{name}")
    assert (objectives.paths.model(f"from_{name}") / "simlm.json").exists()


def test_heads_go_on_where_they_were(objectives: Context) -> None:
    from simlm.models.loading import load_tokenizer
    from simlm.training.bottleneck import build

    if not (objectives.paths.model("encoder_decoder_rtd") / "simlm.json").exists():
        train_all(objectives, "encoder_decoder_rtd")
    from safetensors.torch import load_file

    saved = load_file(objectives.paths.model("encoder_decoder_rtd") / "bottleneck.safetensors")
    assert {name.split(".")[0] for name in saved} == {"decoder", "detectors"}
    model = build(objectives, "more_encoder_decoder_rtd", load_tokenizer(objectives.paths.tokenizer))
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in saved.items())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"generator": None}, "generator is missing"),
        ({"encoder_corruption": "masked", "decoder_corruption": "masked"}, "no generator is read"),
        ({"encoder_corruption": "masked", "encoder_objective": "detect"}, "encoder_objective detect finds replaced tokens"),
        ({"encoder_corruption": "clean"}, "encoder_objective restore would restore what stands in the clean text"),
        ({"decoder_objective": "none"}, "leave the decoder out with decoder: none"),
        ({"decoder": "none", "encoder_objective": "none"}, "there is nothing to learn"),
        ({"decoder": "retromae", "decoder_objective": "detect"}, "does not go with decoder: retromae"),
        ({"early_layer": 1}, "early_layer is what Condenser's head reads"),
        ({"mask_tokens": "80-10-10"}, "mask_tokens 80-10-10 is about masked text, and none is masked"),
        ({"decoder_mask": 0.2}, "decoder_mask must not be smaller than encoder_mask"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(tmp_path, change: dict, sentence: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(configuration(tmp_path, **change)))
    with pytest.raises(UserError, match=sentence):
        load_experiment(file)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"decoder_layers": 4}, "decoder_layers is 4, but base has 3 layers to copy"),
        ({"decoder": "condenser", "early_layer": 3}, "early_layer is 3, but base has 3 layers"),
    ],
)
def test_a_decoder_that_the_encoder_cannot_feed_is_refused(objectives: Context, tmp_path, change: dict, sentence: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(configuration(objectives.paths.root.parent, **change)))
    with pytest.raises(UserError, match=sentence):
        train_all(Context(load_experiment(file), objectives.paths), "simlm")
