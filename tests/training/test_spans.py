"""Spans of texts, the loss between them against its formula, and gradients in pieces against those of the whole batch."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from simlm.config import load_experiment
from simlm.config.kinds import Bottleneck
from simlm.context import Context
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.errors import OutOfTime, UserError
from simlm.models.bottleneck import BottleneckModel, BottleneckOptions
from simlm.models.text import Tokens
from simlm.training import spans as module
from simlm.training.bottleneck import BottleneckCollator
from simlm.training.distributed import put_shares
from simlm.training.spans import SpanCollator, SpanContrast, Spans, span_contrastive_loss, title_numbers
from tests.training.test_pretraining_stages import configuration, prepare, train_all, weights

CONDENSER = {
    "kind": "bottleneck", "init": "a/b", "steps": 1, "decoder": "condenser", "decoder_init": "fresh", "early_layer": 1, "max_length": 10,
    "encoder_corruption": "masked", "encoder_objective": "restore_masked", "decoder_objective": "restore_masked", "decoder_corruption": "masked",
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    from small_vocabulary import word_tokenizer

    return word_tokenizer()


def passages(*words: int) -> Tokens:
    """Texts of so many different words; word ``j`` of text ``i`` is 100 i + j + 5."""
    return Tokens.from_lists([[2, *(100 * i + j + 5 for j in range(count)), 3] for i, count in enumerate(words)])


def test_texts_are_cut_into_as_few_equal_spans_as_fit_and_those_of_one_are_left_out():
    spans = Spans(passages(8, 9, 20, 0, 3), most=10)  # 8 words and two special tokens
    assert spans.counts.tolist() == [2, 3]
    cut = spans.take(np.arange(spans.starts[0], spans.starts[1] + 3))
    assert cut.lengths.tolist() == [6, 7, 8, 9, 9]
    assert cut[0].tolist() == [2, 105, 106, 107, 108, 3]
    words = np.concatenate([cut[i][1:-1] for i in range(2, 5)])
    assert words.tolist() == list(range(205, 225))


def test_spans_of_one_title_are_those_of_its_passages(tmp_path):
    texts = [("p0", "Fruit", "a"), ("p1", "", "b"), ("p2", "Fruit", "c"), ("p3", "", "d"), ("p4", "Tools", "e")]
    write_corpus(tmp_path / "corpus", texts, {"train": ([("q", "x")], [("q", "p0", 1)])}, {"source": "test"})
    numbers = title_numbers(CorpusStore(tmp_path / "corpus"))
    assert len(set(numbers.tolist())) == 4
    assert numbers[0] == numbers[2]
    spans = Spans(passages(4, 4, 12, 4, 4), most=10, titles=numbers)
    assert spans.counts.tolist() == [3]
    found = [spans.take(np.array([spans.starts[0] + i]))[0][1] for i in range(3)]
    assert found == [5, 205, 211]


def test_two_different_spans_are_drawn_anew_each_epoch_for_any_batch():
    spans = Spans(passages(40, 30, 80), most=10)
    items = np.array([(epoch, text) for epoch in range(200) for text in range(3)])
    pairs = spans.pairs(7, items).reshape(-1, 2)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert (spans.pairs(7, items[[5]]) == pairs[5]).all()
    for text in range(3):
        own = pairs[items[:, 1] == text] - spans.starts[text]
        seen = np.unique(own[:, 0] * 100 + own[:, 1])
        assert own.min() >= 0
        assert own.max() == spans.counts[text] - 1
        assert len(seen) > 0.85 * spans.counts[text] * (spans.counts[text] - 1)


def test_the_loss_is_the_published_one():
    draw = torch.Generator().manual_seed(0)
    cls = torch.randn(6, 5, generator=draw, dtype=torch.float64).requires_grad_()
    loss = span_contrastive_loss(cls)
    loss.backward()
    values, expected = cls.detach(), 0.0
    for i in range(6):
        others = [j for j in range(6) if j != i]
        total = sum(math.exp(float(values[i] @ values[j])) for j in others)
        expected -= math.log(math.exp(float(values[i] @ values[i ^ 1])) / total) / 6
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    step, numeric = 1e-6, torch.zeros_like(values)
    for place in np.ndindex(*values.shape):
        moved = values.clone()
        moved[place] += step
        other = values.clone()
        other[place] -= step
        numeric[place] = (span_contrastive_loss(moved) - span_contrastive_loss(other)) / (2 * step)
    assert torch.allclose(cls.grad, numeric, atol=1e-8)


def cocondenser(tokenizer, dropout: float = 0.0) -> tuple[SpanContrast, Spans, Bottleneck]:
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 32}
    config = BertConfig(vocab_size=len(tokenizer), **size, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, initializer_range=0.3)
    config._attn_implementation = "eager"
    settings = Bottleneck(**CONDENSER)
    model = BottleneckModel(BertForMaskedLM(config), None, BottleneckOptions.of(settings)).double()
    draw = np.random.default_rng(1)
    texts = Tokens.from_lists([[2, *draw.integers(5, len(tokenizer), 12 + i).tolist(), 3] for i in range(12)])
    return SpanContrast(model, 1.0), Spans(texts, settings.max_length), settings


def step(training: SpanContrast, batch: dict) -> tuple[float, dict[str, torch.Tensor]]:
    training.zero_grad()
    put_shares(batch["pieces"])
    torch.manual_seed(3)
    loss = training(**batch)["loss"]
    loss.backward()
    return loss.item(), {name: value.grad.clone() for name, value in training.named_parameters() if value.grad is not None}


def collator(training, spans, settings, tokenizer, most=None) -> SpanCollator:
    return SpanCollator(spans, BottleneckCollator(spans.passages, tokenizer, settings, 3).corrupt, 3, most)


@pytest.mark.parametrize("most", [1, 4, 5])
def test_cached_gradients_are_those_of_the_whole_batch(tokenizer, most):
    training, spans, settings = cocondenser(tokenizer)
    items = [(1, text) for text in range(12)]
    whole, parts = (step(training, collator(training, spans, settings, tokenizer, size)(items)) for size in (None, most))
    # The weights of the pieces' means are single-precision numbers.
    assert parts[0] == pytest.approx(whole[0], rel=1e-6)
    assert parts[1].keys() == whole[1].keys()
    for name, gradient in whole[1].items():
        assert float((parts[1][name] - gradient).norm()) <= 1e-6 * float(gradient.norm()) + 1e-12, name


def test_a_step_is_condensers_losses_and_that_between_spans(tokenizer):
    training, spans, settings = cocondenser(tokenizer)
    batch = collator(training, spans, settings, tokenizer)([(1, text) for text in range(12)])
    piece = {name: value for name, value in batch["pieces"][0].items() if name != "counts"}
    assert piece["tokens"].shape[0] == 24
    loss, gradients = step(training, batch)
    training.zero_grad()
    values, cls = training.model.read(**piece)
    expected = values["loss"] + span_contrastive_loss(cls)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-9)
    assert all(torch.allclose(gradients[name], value.grad, rtol=1e-7) for name, value in training.named_parameters() if value.grad is not None)


def test_the_second_pass_has_the_dropout_of_the_first(tokenizer, monkeypatch):
    training, spans, settings = cocondenser(tokenizer, dropout=0.3)
    items = [(1, text) for text in range(12)]
    cached = step(training, collator(training, spans, settings, tokenizer, 3)(items))
    monkeypatch.setattr(module, "checkpoint", lambda function, use_reentrant, **piece: function(**piece))
    kept = step(training, collator(training, spans, settings, tokenizer, 3)(items))
    assert cached[0] == pytest.approx(kept[0], rel=1e-12)
    assert all(torch.allclose(cached[1][name], value, rtol=1e-9) for name, value in kept[1].items())


def test_pieces_bound_what_is_kept(tokenizer):
    training, spans, settings = cocondenser(tokenizer)
    kept: dict[str, int] = {}
    for name, most in (("whole", None), ("pieces", 1)):
        batch = collator(training, spans, settings, tokenizer, most)([(1, text) for text in range(12)])
        put_shares(batch["pieces"])
        kept[name] = 0

        def pack(value, name=name):
            kept[name] += value.numel() if value.requires_grad and value.grad_fn is not None else 0
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            training(**batch)
    assert kept["pieces"] < kept["whole"] / 10


def made(folder: Path) -> Context:
    """A corpus with Condenser trained on it, and coCondenser to be trained from it."""
    context, _ = prepare(folder)
    values = configuration(folder)
    shared = {key: value for key, value in values["models"]["simlm"].items() if key != "generator"}
    condenser = shared | {key: value for key, value in CONDENSER.items() if key not in ("init", "steps")} | {"probe": None, "max_length": 16}
    values["models"]["condenser"] = condenser
    values["models"]["cocondenser"] = condenser | {"init": "condenser", "micro_batch_size": 4, "span_contrast": {"read": 32}}
    values["models"]["headless"] = values["models"]["cocondenser"] | {"init": "base", "steps": 1}
    file = folder / "spans.yaml"
    file.write_text(yaml.safe_dump(values))
    context = Context(load_experiment(file), context.paths)
    train_all(context, "base", "condenser")
    return context


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Context:
    context = made(tmp_path_factory.mktemp("spans"))
    train_all(context, "cocondenser")
    return context


def test_the_head_is_kept_and_goes_on(trained):
    from safetensors.torch import load_file

    before, after = (load_file(trained.paths.model(name) / "bottleneck.safetensors") for name in ("condenser", "cocondenser"))
    assert before.keys() == after.keys()
    assert any(name.startswith("decoder.1.") for name in before)
    moved = sum(float((after[name] - before[name]).norm()) for name in before)
    assert 0 < moved < sum(float(value.norm()) for value in before.values())


def test_an_interrupted_training_ends_with_the_same_weights(trained, tmp_path, monkeypatch):
    again = made(tmp_path)
    monkeypatch.setenv("SIMLM_END_TIME", str(time.time() + 5))
    for step in (1, 2, 3):
        with pytest.raises(OutOfTime, match=f"cocondenser, step {step} of 12"):
            train_all(again, "cocondenser")
    monkeypatch.delenv("SIMLM_END_TIME")
    train_all(again, "cocondenser")
    one, other = weights(trained.paths.model("cocondenser")), weights(again.paths.model("cocondenser"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_fresh_head_is_told(trained):
    train_all(trained, "headless")
    cautions = json.loads(trained.paths.record("train.headless").read_text())["notes"]["cautions"]
    assert any("coCondenser should go on from a Condenser with its head" in sentence for sentence in cautions)


def test_a_corpus_of_short_texts_is_refused(trained, tmp_path):
    values = yaml.safe_load((trained.paths.root.parent / "spans.yaml").read_text())
    values["models"]["cocondenser"]["max_length"] = 48
    file = tmp_path / "long.yaml"
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=r"cocondenser.span_contrast: no two texts of the corpus have two spans of 48 tokens \(max_length\); lower it"):
        train_all(Context(load_experiment(file), trained.paths), "cocondenser")
