"""The pre-training model against float64 formulas, hand-made models and the published description."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM, ElectraConfig, ElectraForMaskedLM

from simlm.models.bottleneck import BottleneckModel, BottleneckOptions, labelled_positions
from simlm.models.linear_cross_entropy import linear_cross_entropy
from simlm.models.replacement import replace_tokens, sample_from_logits

WORDS, MASK = 97, 4


def bert(layers: int = 3, hidden: int = 16, dropout: float = 0.0, attention: str = "eager") -> BertForMaskedLM:
    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.4,
    )
    config._attn_implementation = attention
    return BertForMaskedLM(config)


def batch(rows: int = 4, length: int = 12) -> dict:
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, WORDS, (rows, length), generator=draw)
    attention = torch.ones_like(tokens)
    attention[1, 9:] = 0
    tokens[1, 9:] = 0
    special = attention == 0
    special[:, 0] = True
    encoder = (torch.rand(rows, length, generator=draw) < 0.3) & ~special
    decoder = (encoder | (torch.rand(rows, length, generator=draw) < 0.4)) & ~special
    types = torch.zeros_like(tokens)
    types[:, 5:] = 1
    return {
        "tokens": tokens,
        "token_types": types * attention,
        "attention_mask": attention,
        "encoder_masked": encoder,
        "decoder_masked": decoder,
        "draws": torch.rand(2, rows, length, generator=draw),
        "labelled": torch.from_numpy(labelled_positions(special.numpy(), 1.0, None)),
        "mask_id": MASK,
    }


@pytest.mark.parametrize("tokens", [1, 7, 5000])
def test_chunked_loss_and_gradients_equal_torch_in_float64(tokens: int) -> None:
    torch.manual_seed(1)
    hidden, weight, bias = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((tokens, 8), (1200, 8), (1200,)))
    labels = torch.randint(0, 1200, (tokens,))
    ours = linear_cross_entropy(hidden, weight, bias, labels)
    theirs = nn.functional.cross_entropy(hidden @ weight.T + bias, labels)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    for mine, reference in zip(torch.autograd.grad(2 * ours, (hidden, weight, bias)), torch.autograd.grad(2 * theirs, (hidden, weight, bias))):
        torch.testing.assert_close(mine, reference, rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        assert linear_cross_entropy(hidden, weight, bias, labels).item() == pytest.approx(theirs.item(), rel=1e-12)


def test_ignored_rows_do_not_count() -> None:
    torch.manual_seed(1)
    hidden, weight, bias = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((700, 8), (5000, 8), (5000,)))
    labels = torch.randint(0, 5000, (700,))
    labels[torch.rand(700) < 0.5] = -100
    ours = linear_cross_entropy(hidden, weight, bias, labels)
    theirs = nn.functional.cross_entropy(hidden @ weight.T + bias, labels)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    for mine, reference in zip(torch.autograd.grad(ours, (hidden, weight, bias)), torch.autograd.grad(theirs, (hidden, weight, bias))):
        torch.testing.assert_close(mine, reference, rtol=1e-9, atol=1e-12)


def test_chunked_loss_survives_large_logits() -> None:
    hidden = torch.tensor([[1e4, 0.0]], requires_grad=True)
    loss = linear_cross_entropy(hidden, torch.eye(2), torch.zeros(2), torch.tensor([0]))
    assert loss.item() == 0.0
    assert torch.isfinite(torch.autograd.grad(loss, hidden)[0]).all()


def test_samples_follow_the_softmax() -> None:
    from scipy.stats import chisquare

    torch.manual_seed(0)
    logits = 2 * torch.randn(1, 150)
    n = 200_000
    samples = sample_from_logits(logits.expand(n, -1), (torch.arange(n) + 0.5) / n)
    expected = torch.softmax(logits[0].double(), 0).numpy() * n
    # Equally spaced draws: counts may differ from the expectation by rounding alone, plus fp32 sums.
    counts = np.bincount(samples.numpy(), minlength=150)
    assert np.abs(counts - expected).max() < 3
    random = sample_from_logits(logits.expand(n, -1), torch.rand(n))
    likely = expected > 20
    observed = np.bincount(random.numpy(), minlength=150)[likely]
    assert chisquare(observed, expected[likely] * observed.sum() / expected[likely].sum()).pvalue > 1e-4


def test_sampling_never_takes_an_impossible_word() -> None:
    logits = torch.full((3, 130), float("-inf"))
    logits[:, 5] = 0.0
    assert sample_from_logits(logits, torch.tensor([0.0, 0.5, 0.99999994])).tolist() == [5, 5, 5]


def test_losses_are_the_formula_of_the_paper() -> None:
    """Recompute both losses in float64 from the model's own parts, written out plainly."""
    torch.manual_seed(0)
    model = BottleneckModel(bert(), bert(layers=1, hidden=8), BottleneckOptions()).double().eval()
    inputs = batch()
    outputs = model(**inputs)
    tokens, types, attention = inputs["tokens"], inputs["token_types"], inputs["attention_mask"]

    def replaced(masked: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        filled = torch.where(masked, MASK, tokens)
        logits = model.generator(input_ids=filled, token_type_ids=types, attention_mask=attention).logits
        cumulated = torch.softmax(logits, -1).cumsum(-1)
        samples = (cumulated <= draws[..., None]).sum(-1)
        return torch.where(masked, samples, tokens)

    encoder_input = replaced(inputs["encoder_masked"], inputs["draws"][0])
    decoder_input = replaced(inputs["decoder_masked"], inputs["draws"][1])
    hidden = model.body(input_ids=encoder_input, token_type_ids=types, attention_mask=attention).last_hidden_state
    embedded = model.body.embeddings(input_ids=decoder_input, token_type_ids=types)
    state = torch.cat([hidden[:, :1], embedded[:, 1:]], dim=1)
    blocked = (attention[:, None, None, :] == 0) * -1e9
    for layer in model.decoder:
        state = layer(state, attention_mask=blocked)
    head = model.encoder.cls.predictions
    at = inputs["labelled"]
    expected = [nn.functional.cross_entropy(head(states).reshape(-1, WORDS)[at], tokens.reshape(-1)[at]) for states in (hidden, state)]
    assert outputs["encoder_loss"].item() == pytest.approx(expected[0].item(), rel=1e-9)
    assert outputs["decoder_loss"].item() == pytest.approx(expected[1].item(), rel=1e-9)
    assert outputs["loss"].item() == pytest.approx(sum(expected).item(), rel=1e-9)
    assert outputs["tokens"].item() == attention.sum().item()


def test_labels_are_all_tokens_that_are_not_special() -> None:
    special = np.array([[True, False, False], [True, False, True]])
    assert labelled_positions(special, 1.0, None).tolist() == [1, 2, 4]
    draws = np.random.default_rng(0).random((100, 100))
    kept = labelled_positions(np.zeros((100, 100), bool), 0.25, draws)
    assert len(kept) == pytest.approx(2500, abs=150)


def test_decoder_sees_the_passage_only_through_cls() -> None:
    """Changing what the encoder reads changes the decoder's output through position 0 alone."""
    torch.manual_seed(0)
    model = BottleneckModel(bert(), bert(layers=1), BottleneckOptions()).eval()
    inputs = batch()
    arguments = (inputs["tokens"], inputs["token_types"], inputs["attention_mask"])
    bottleneck = torch.randn(4, 16)
    decoded = model.decode(bottleneck, *arguments)
    changed = inputs["tokens"].clone()
    changed[:, 0] = 50  # position 0 of the decoder's own input is replaced, so it cannot matter
    torch.testing.assert_close(model.decode(bottleneck, changed, *arguments[1:]), decoded)
    assert not torch.allclose(model.decode(-bottleneck, *arguments), decoded)


def test_padding_does_not_matter() -> None:
    torch.manual_seed(0)
    model = BottleneckModel(bert(), bert(layers=1), BottleneckOptions()).eval()
    inputs = batch()
    state = model.decode(torch.randn(4, 16, generator=torch.Generator().manual_seed(1)), inputs["tokens"], inputs["token_types"], inputs["attention_mask"])
    other = inputs["tokens"].clone()
    other[1, 9:] = 33
    again = model.decode(torch.randn(4, 16, generator=torch.Generator().manual_seed(1)), other, inputs["token_types"], inputs["attention_mask"])
    torch.testing.assert_close(state[1, :9], again[1, :9])


def test_decoder_starts_as_a_copy_of_the_last_layers() -> None:
    encoder = bert()
    before = copy.deepcopy(encoder.state_dict())
    model = BottleneckModel(encoder, bert(layers=1), BottleneckOptions(decoder_layers=2))
    for own, source in zip(model.decoder, (1, 2)):
        for name, value in own.state_dict().items():
            assert torch.equal(value, before[f"bert.encoder.layer.{source}.{name}"])
    next(model.decoder.parameters()).data.add_(1)
    assert torch.equal(encoder.state_dict()["bert.encoder.layer.1.attention.self.query.weight"], before["bert.encoder.layer.1.attention.self.query.weight"])


def test_frozen_generator_gets_no_gradient_and_no_dropout() -> None:
    model = BottleneckModel(bert(), bert(layers=1, dropout=0.5), BottleneckOptions()).train()
    assert not model.generator.training
    model(**batch())["loss"].backward()
    assert all(parameter.grad is None for parameter in model.generator.parameters())
    assert BottleneckModel(bert(), bert(layers=1), BottleneckOptions(generator_dropout=True)).train().generator.training


def test_trained_generator_adds_its_weighted_loss() -> None:
    torch.manual_seed(0)
    model = BottleneckModel(bert(), bert(layers=1), BottleneckOptions(train_generator=True, generator_weight=0.2)).eval()
    inputs = batch()
    outputs = model(**inputs)
    outputs["loss"].backward()
    assert model.generator.bert.embeddings.word_embeddings.weight.grad.abs().sum() > 0
    logits, labels = [], []
    for masked in (inputs["encoder_masked"], inputs["decoder_masked"]):
        filled = torch.where(masked, MASK, inputs["tokens"])
        out = model.generator(input_ids=filled, token_type_ids=inputs["token_types"], attention_mask=inputs["attention_mask"]).logits
        logits.append(out[masked])
        labels.append(inputs["tokens"][masked])
    expected = nn.functional.cross_entropy(torch.cat(logits), torch.cat(labels)).item()
    assert outputs["generator_loss"].item() == pytest.approx(expected, rel=1e-5)
    total = outputs["encoder_loss"] + outputs["decoder_loss"] + 0.2 * outputs["generator_loss"]
    assert outputs["loss"].item() == pytest.approx(total.item(), rel=1e-5)


def test_electra_generator_and_fused_attention_work_too() -> None:
    """The paper's generator is an ELECTRA; on accelerators the fused attention is used."""
    torch.manual_seed(0)
    config = ElectraConfig(
        vocab_size=WORDS, embedding_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=32
    )
    generator = ElectraForMaskedLM(config).eval()
    inputs = batch()
    losses = []
    for attention in ("eager", "sdpa"):
        torch.manual_seed(5)
        losses.append(BottleneckModel(bert(attention=attention), generator, BottleneckOptions()).eval()(**inputs)["loss"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_replacements_are_where_the_masks_are() -> None:
    torch.manual_seed(0)
    model = BottleneckModel(bert(), bert(layers=1), BottleneckOptions()).eval()
    inputs = batch()
    masked = torch.stack([inputs["encoder_masked"], inputs["decoder_masked"]])
    texts = (inputs[name] for name in ("tokens", "token_types", "attention_mask"))
    replaced, _ = replace_tokens(model.generator, *texts, masked, inputs["draws"], inputs["mask_id"])
    for side, masked in zip(replaced, (inputs["encoder_masked"], inputs["decoder_masked"])):
        assert torch.equal(side[~masked], inputs["tokens"][~masked])
        assert (side[masked] != inputs["tokens"][masked]).any()
        assert not (side == MASK).any() or MASK in side[masked]


def test_vocabularies_must_agree() -> None:
    other = BertForMaskedLM(BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    with pytest.raises(ValueError, match="one vocabulary"):
        BottleneckModel(bert(), other, BottleneckOptions())
