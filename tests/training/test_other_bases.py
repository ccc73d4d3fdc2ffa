"""Pre-training of bases that are no BERT, through the stages themselves, with the tokenizer of their family."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
import yaml
from architectures import ARCHITECTURES, save, subword_tokenizer

from simlm.cli import main
from simlm.config import load_experiment
from simlm.context import Context
from simlm.corpus.store import write_corpus
from simlm.models.bottleneck import BottleneckModel, BottleneckOptions
from simlm.models.heads.decoder import layers_of, position_states, read_forward, text_states
from simlm.models.heads.language import head_states, output_layer
from simlm.models.loading import load_tokenizer
from simlm.models.masked_language_model import load_masked_language_model
from simlm.models.text import pad, tokenize_passages
from simlm.paths import Paths
from simlm.stages.train import train
from simlm.stages.train_tokenizer import train_tokenizer

FAMILIES = {"Roberta": "bytes", "XLMRoberta": "pieces", "DistilBert": "wordpiece", "MPNet": "wordpiece", "ModernBert": "bytes"}
"""Architecture → family of the tokenizer that its published checkpoints have."""

WORDS = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}ing" for i in range(60)]


def texts(draw: np.random.Generator) -> list[str]:
    return [" ".join(draw.choice(WORDS, 16)) for _ in range(60)]


def base(folder: Path, name: str) -> Path:
    """A base without a head for masked words, and the tokenizer that its family has."""
    own = subword_tokenizer(FAMILIES[name], texts(np.random.default_rng(1)))
    settings = {**ARCHITECTURES[name][1]} | {"pad_token_id": own.pad_token_id, "vocab_size": len(own)}
    if name == "ModernBert":
        settings |= {"cls_token_id": own.cls_token_id, "sep_token_id": own.sep_token_id}
        settings |= {"bos_token_id": own.cls_token_id, "eos_token_id": own.sep_token_id}
    torch.manual_seed(0)
    getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**settings)).save_pretrained(folder)
    own.save_pretrained(folder)
    return folder


def prepared(folder: Path, name: str, **bottleneck: object) -> Context:
    start = str(base(folder / "base", name))
    common = {"steps": 4, "batch_size": 8, "learning_rate": 1e-3, "max_length": 48, "threads": 1, "log_steps": 2}
    masked = {"encoder_corruption": "masked", "decoder_corruption": "masked", "decoder_layers": 1}
    values = {
        "name": "tiny",
        "results": str(folder),
        "precision": "fp32",
        "corpus": {"source": "beir", "path": str(folder), "splits": {"train": "train", "dev": "dev"}},
        "tokenizer": {"init": start},
        "models": {
            "generator": {"kind": "mlm", "init": start, **common},
            "simlm": {"kind": "bottleneck", "init": start, "generator": "generator", "holdout": 8, "probe": None, **common},
            "masked": {"kind": "bottleneck", "init": start, "holdout": 8, "probe": None, **common, **masked, **bottleneck},
            "retriever": {"kind": "biencoder", "init": "simlm", "negatives": "bm25", "steps": 1, "threads": 1, "dropout": 0.2},
        },
        "evaluate": {"systems": ["bm25"], "splits": {"dev": {}}, "main_split": "dev"},
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(values))
    context = Context(load_experiment(folder / "c.yaml"), Paths(folder / "tiny"))
    passages = [(f"p{i}", "", text) for i, text in enumerate(texts(np.random.default_rng(0)))]
    splits = {split: ([(f"{split}{i}", WORDS[i]) for i in range(4)], [(f"{split}{i}", f"p{i}", 1) for i in range(4)]) for split in ("train", "dev")}
    write_corpus(context.paths.corpus, passages, splits, {"source": "test"})
    train_tokenizer(context)
    return context


@pytest.mark.parametrize("name", FAMILIES)
def test_a_base_of_its_own_architecture_is_pre_trained(name, tmp_path):
    """Masked language model, SimLM with that one as generator, Condenser; what comes out is of the architecture and embeds."""
    context = prepared(tmp_path, name, decoder="condenser")
    for model in ("generator", "simlm", "masked"):
        train(context, model)
    folder = context.paths.model("simlm")
    assert json.loads((folder / "config.json").read_text())["model_type"] == json.loads((tmp_path / "base/config.json").read_text())["model_type"]
    history = [json.loads(line) for line in context.paths.history("simlm").read_text().splitlines()]
    losses = [line["encoder_loss"] for line in history if "encoder_loss" in line]
    uniform = np.log(json.loads((folder / "config.json").read_text())["vocab_size"])
    assert 0.5 * uniform < losses[-1] < 1.5 * uniform
    shares = [line["encoder_replaced"] for line in history if "encoder_replaced" in line]
    assert all(0.15 < share < 0.45 for share in shares)  # 0.3 of the tokens, less those that were replaced by themselves
    before, after = (transformers.AutoModel.from_pretrained(place) for place in (tmp_path / "base", folder))
    tokenizer = load_tokenizer(folder)
    batch = tokenizer([WORDS[0], f"{WORDS[1]} {WORDS[2]}"], padding=True, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        vectors = [model.eval()(**batch).last_hidden_state[:, 0] for model in (before, after)]
    assert torch.isfinite(vectors[1]).all()
    assert not torch.allclose(*vectors, atol=1e-3)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_head_and_layers_are_those_of_the_architecture(name, tmp_path):
    """The head at chosen positions gives transformers' logits; the encoder's own layers as decoder give its own states."""
    folder = save(tmp_path / "m", name, "ForMaskedLM")
    own = load_tokenizer(folder)
    model = load_masked_language_model(folder, own).eval()
    batch = pad(tokenize_passages(own, ["matrix", "list"], ["swap two columns of numbers", "sort"], 30), own, 8)
    with torch.no_grad():
        states = model.base_model(**batch).last_hidden_state
        weight, bias = output_layer(model)
        torch.testing.assert_close(head_states(model, states) @ weight.T + bias, model(**batch).logits)
        if name != "Albert":
            embedded = text_states(model.base_model, batch["input_ids"], batch.get("token_type_ids"))
            again = read_forward(model.base_model, layers_of(model.base_model), embedded, batch["attention_mask"])
            real = batch["attention_mask"].bool()
            torch.testing.assert_close(again[real], states[real])


@pytest.mark.parametrize("name", ["Bert", "Roberta", "XLMRoberta", "Electra"])
def test_retromae_asks_with_the_positions_that_a_text_has(name, tmp_path):
    """The embedding of a text is the norm of its words, types and positions; RoBERTa's kin begin behind the padding id."""
    folder = save(tmp_path / "m", name, "ForMaskedLM")
    own = load_tokenizer(folder)
    model = load_masked_language_model(folder, own).eval()
    embeddings, ids = model.base_model.embeddings, torch.tensor([own("swap two columns")["input_ids"]])
    body = model.base_model
    if hasattr(body, "embeddings_project"):
        del body.embeddings_project
    words = embeddings.word_embeddings(ids) + embeddings.token_type_embeddings.weight[0]
    wanted = embeddings.LayerNorm(words + position_states(body, ids.shape[1]))
    torch.testing.assert_close(embeddings(input_ids=ids), wanted)


@pytest.mark.parametrize("name", ["Roberta", "ModernBert", "DistilBert", "MPNet"])
def test_the_decoder_sees_the_text_through_the_first_token_alone(name, tmp_path):
    """All that the decoder's loss tells the encoder's layers passes through [CLS]; padding changes nothing."""
    folder = save(tmp_path / "m", name, "ForMaskedLM")
    own = load_tokenizer(folder)
    model = BottleneckModel(
        load_masked_language_model(folder, own), None, BottleneckOptions(decoder_layers=1, encoder_corruption="masked", decoder_corruption="masked")
    ).eval()
    short, long = (pad(tokenize_passages(own, ["matrix"], ["swap two columns of numbers"], 30), own, multiple) for multiple in (1, 16))
    results = []
    for batch in (short, long):
        cls, another = torch.randn(2, 1, 32, generator=torch.Generator().manual_seed(0))
        results.append(model.decode(cls, batch["input_ids"], batch.get("token_type_ids"), batch["attention_mask"]))
        other = model.decode(another, batch["input_ids"], batch.get("token_type_ids"), batch["attention_mask"])
        assert not torch.allclose(results[-1][:, 1:], other[:, 1:])
    torch.testing.assert_close(results[0], results[1][:, : results[0].shape[1]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("Albert", {}, "a albert shares one layer among all; set decoder: none"),
        ("MPNet", {"decoder": "retromae"}, "computed inside of BERT's layer, which a mpnet does not have; set decoder: shallow or condenser"),
        ("ModernBert", {"decoder": "retromae"}, "which a modernbert does not have"),
        ("Albert", {"decoder": "none", "bag_of_words": {}}, None),
        ("Roberta", {"decoder": "retromae"}, None),
    ],
)
def test_what_cannot_be_a_decoder_is_refused_by_the_check(name, settings, sentence, tmp_path, capsys):
    start = str(save(tmp_path / "m", name))
    values = {
        "name": "tiny",
        "corpus": {"source": "python_docs", "packages": ["networkx"]},
        "tokenizer": {"init": start},
        "models": {
            "first": {"kind": "mlm", "init": start, "steps": 5, "max_length": 32},
            "second": {"kind": "bottleneck", "init": "first", "steps": 5, "max_length": 32, "encoder_corruption": "masked",
                       "decoder_corruption": "masked", "probe": None, **settings},
        },
        "evaluate": {"systems": ["bm25"], "splits": {"test": {}}, "main_split": "test"},
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    code = main(["check", "--config", str(tmp_path / "c.yaml")])
    said = capsys.readouterr().err
    assert code == (2 if sentence else 0)
    assert not sentence or ("models.second.decoder" in said and sentence in said)
