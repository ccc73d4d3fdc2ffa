"""The hybrid vector: its losses and gradients against a float64 formula over all words, its folding, and whole trainings through the real Trainer."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import torch
from finetuning import QUERIES, make_context
from safetensors.torch import load_file

from simlm.config import validate
from simlm.corpus.store import CorpusStore
from simlm.errors import OutOfTime, UserError
from simlm.hardware import Precision
from simlm.models import hybrid
from simlm.models.hybrid import HybridModel, Parts, TwoParts, open_hybrid
from simlm.models.manifest import model_fingerprint, read_manifest
from simlm.models.reading import TextReader
from simlm.models.text import pad
from simlm.retrieval.hybrid_encoder import HybridEncoder
from simlm.retrieval.opened import open_embedder
from simlm.training.biencoder import BiEncoderTraining
from simlm.training.hybrid import train

BLOCK = {"kind": "hybrid", "negatives": "bm25", "steps": 40, "batch_size": 16, "hard_negatives": 3, "learning_rate": 2e-3, "warmup_steps": 5}
BLOCK |= {"query_length": 10, "passage_length": 24, "threads": 1, "log_steps": 20, "holdout": 4}
BLOCK |= {"cls_dimension": 16, "words": 12, "word_dimension": 24, "normalize": True, "temperature": 0.1}
TEXTS = ["swap the matrix", "invert - row", "sort the list", "read and write a row", "join", "find numbers : numpy"]


def masked_bert(tokenizer, seed: int = 0):
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(seed)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}
    model = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **size, initializer_range=0.3))
    torch.nn.init.normal_(model.cls.predictions.bias)
    return model.eval()


def naive_scores(language, head: TwoParts, queries: dict, passages: dict) -> torch.Tensor:
    """Pair by pair in float64: the sum of two inner products, the second over the words that both texts keep."""

    def parts(batch: dict) -> list[tuple[torch.Tensor, dict[int, torch.Tensor]]]:
        found = []
        for ids, mask, types in zip(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"]):
            there = int(mask.sum())
            one = {"input_ids": ids[None, :there], "token_type_ids": types[None, :there]}
            output = language(**one, output_hidden_states=True)
            cls = output.hidden_states[-1][0, 0]
            cls = head.projection.weight @ cls if head.projection is not None else cls
            logits = output.logits[0, 1:].max(0).values
            kept = torch.argsort(logits, descending=True)[: head.parts.words].tolist()
            taken = {"log": lambda x: torch.log(1 + torch.clamp(x, min=0)), "relu": lambda x: torch.clamp(x, min=0), "none": lambda x: x}
            found.append((cls, {word: taken[head.parts.word_activation](logits[word]) for word in kept}))
        return found

    def inner(one: dict[int, torch.Tensor], other: dict[int, torch.Tensor]) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for word, value in one.items():
            for term, second in other.items():
                if head.parts.word_dimension is None:
                    total = total + (value * second if word == term else 0)
                elif head.places[word] == head.places[term]:
                    total = total + value * second * int(head.signs[word]) * int(head.signs[term])
        return total

    rows = []
    for cls, words in parts(queries):
        row = []
        for other, terms in parts(passages):
            first, second = cls @ other, inner(words, terms)
            if head.parts.normalize:
                first = first / (cls.norm() * other.norm())
                second = second / torch.sqrt(inner(words, words) * inner(terms, terms))
            row.append(first + head.parts.word_weight * second)
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.parametrize(
    "parts",
    [
        Parts(None, 9, None),
        Parts(8, 9, 20),
        Parts(8, 30, 20, "relu", 0.5),
        Parts(8, 9, None, "none", 2.0, True),
        Parts(None, 9, 7, "log", 1.0, True),
    ],
    ids=["without loss", "folded", "relu, weighted", "logits, normalised", "much folded, normalised"],
)
def test_a_step_is_the_formula_with_its_gradients(word_tokenizer, monkeypatch, parts):
    """fp32 with logits of two texts at a time, against float64 over all words of one text at a time, unpadded."""
    monkeypatch.setattr(hybrid, "LOGITS", 2 * 8 * len(word_tokenizer))
    language, reader = masked_bert(word_tokenizer), TextReader(word_tokenizer, {"query": 8, "passage": 16})
    model = HybridModel(language, head=TwoParts(16, len(word_tokenizer), parts))
    batch = {"queries": reader.queries(["swap a matrix", "sort a list"]), "passages": reader.passages([""] * 6, TEXTS)}
    padded = {name: pad(tokens, word_tokenizer, 8) for name, tokens in batch.items()}
    module = BiEncoderTraining(model, 0.7, terms="queries")
    values = module(**padded, rows=torch.arange(6))
    values["loss"].backward()
    found = {name: parameter.grad.clone() for name, parameter in module.named_parameters() if parameter.grad is not None}
    module.zero_grad()
    module.double()
    logits = naive_scores(language, model.head, padded["queries"], padded["passages"]) / 0.7
    expected = -(logits[0].log_softmax(0)[0] + logits[1].log_softmax(0)[3]) / 2
    expected.backward()
    assert values["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    wanted = {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}
    assert found.keys() == wanted.keys()
    scale = max(float(gradient.abs().max()) for gradient in wanted.values())
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name].double(), gradient, rtol=1e-5, atol=1e-5 * scale, msg=name)


def test_folding_keeps_the_inner_product_in_the_mean():
    draw = torch.Generator().manual_seed(1)
    words = torch.stack([torch.randperm(60, generator=draw)[:20] for _ in range(2)])
    values = torch.rand(2, 20, generator=draw)
    exact = float(sum(a * b for a, v in zip(values[0], words[0]) for b, w in zip(values[1], words[1]) if v == w))
    found = []
    for seed in range(225):
        torch.manual_seed(seed)
        one, other = TwoParts(4, 60, Parts(None, 20, 16)).folded(values, words)
        found.append(float(one @ other))
    assert np.mean(found) == pytest.approx(exact, abs=4 * np.std(found) / 15)
    assert np.std(found) > 0.1


def rank_of_own(context, name: str) -> float:
    """Mean reciprocal rank of each dev query's passage."""
    store, encoder = CorpusStore(context.paths.corpus), HybridEncoder(context.paths.model(name), Precision("fp32", "test"))
    scores = encoder.queries(list(store.queries("dev").values())) @ encoder.passages(*store.texts(range(len(store)))).T
    own = scores[np.arange(len(scores)), np.arange(len(scores))]
    return float((1 / (scores >= own[:, None]).sum(1)).mean())


def test_it_learns_to_find_and_its_folder_opens_by_itself(tmp_path, word_tokenizer):
    models = {"first": dict(BLOCK), "second": {**BLOCK, "init": "first", "steps": 1, "learning_rate": 1e-9, "warmup_steps": 0, "micro_batch_size": 4}}
    context = make_context(tmp_path, word_tokenizer, models)
    train(context, "first")
    assert rank_of_own(context, "first") > 0.5  # chance: about 0.09
    folder, manifest = context.paths.model("first"), read_manifest(context.paths.model("first"))
    assert (manifest["kind"], manifest["lengths"]) == ("hybrid", {"query": 10, "passage": 24})
    opened, encoder = open_hybrid(folder), open_embedder(str(folder), Precision("fp32", "test"))
    assert isinstance(encoder, HybridEncoder)
    assert encoder.dimension == 40 == context.experiment.system("first").vector_width(32, len(word_tokenizer))
    vectors = encoder.queries(["swap a matrix"])
    batch = pad(opened.reader.queries(["swap a matrix"]), opened.tokenizer)
    np.testing.assert_allclose(opened.model()(batch).detach().numpy(), vectors, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors), np.sqrt(2), rtol=1e-5)
    record = json.loads(context.paths.record("train.first").read_text())
    assert record["notes"]["queries"]["trained"] == QUERIES - 4
    card = (folder / "README.md").read_text()
    for words in ("DupMAE, arXiv 2211.08769", "a vector of 40 numbers", "24 numbers", "sentence-transformers has no module for this vector"):
        assert words in card
    assert not (folder / "modules.json").exists()
    # Parts go on with the weights, and belong to what the model is.
    train(context, "second")
    one, other = (load_file(context.paths.model(name) / hybrid.FILE) for name in models)
    assert torch.equal(one["places"], other["places"])
    torch.testing.assert_close(one["projection.weight"], other["projection.weight"], atol=1e-6, rtol=0)
    assert model_fingerprint(folder) != manifest["weights"]["sha256"]
    for field, sentence in ({"word_dimension": 23}, "word_dimension"), ({"cls_dimension": None}, "cls_dimension"):
        with pytest.raises(UserError, match=sentence):
            open_hybrid(folder, context.experiment.models["first"].model_copy(update=field), "models.second")
    with pytest.raises(UserError, match="is no hybrid retriever"):
        open_hybrid(tmp_path / "base")


def test_bounded_memory_changes_nothing_and_a_stopped_training_goes_on_to_the_same_weights(tmp_path, word_tokenizer, monkeypatch):
    """Stopped after every step, dropout included; then the same in pieces, without dropout."""
    block = {**BLOCK, "steps": 3, "log_steps": 1, "dropout": 0.1}
    base = {"init": str(tmp_path / "whole" / "base")}
    plain = {name: {**block, **base, "dropout": None, "micro_batch_size": micro} for name, micro in (("undivided", None), ("bounded", 4))}
    whole, stopped = (make_context(tmp_path / name, word_tokenizer, {"hybrid": {**block, **base}, **plain}) for name in ("whole", "stopped"))
    train(whole, "hybrid")
    with monkeypatch.context() as patch:
        patch.setenv("SIMLM_END_TIME", str(time.time() + 5))
        for _ in range(2):
            with pytest.raises(OutOfTime):
                train(stopped, "hybrid")
    train(stopped, "hybrid")
    for file in ("model.safetensors", hybrid.FILE):
        one, other = (load_file(context.paths.model("hybrid") / file) for context in (whole, stopped))
        assert all(torch.equal(one[name], other[name]) for name in one)
    curves = []
    for name in plain:
        train(whole, name)
        lines = [json.loads(line) for line in whole.paths.history(name).read_text().splitlines()]
        curves.append([(line["loss"], line["grad_norm"]) for line in lines if "loss" in line])
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-3)
    assert len(curves[0]) == 3


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ({"pooling": "mean"}, "leave 'pooling' out"),
        ({"similarity": "cosine"}, "sum of two cosines"),
        ({"words": 0}, "words"),
        ({"word_activation": "tanh"}, "tanh"),
    ],
)
def test_settings_that_do_not_go_together(block, sentence):
    with pytest.raises(UserError, match=sentence):
        validate(
            {
                "name": "hybrid",
                "corpus": {"source": "python_docs", "packages": ["numpy"]},
                "models": {"hybrid": {**BLOCK, "init": "a/b", **block}},
                "evaluate": {"systems": ["hybrid"], "splits": {"dev": {}}, "main_split": "dev"},
            }
        )
