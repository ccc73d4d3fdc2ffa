"""Dropout by random bytes against what dropout is: kept with one probability, unbiased, the same pattern backwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

from simlm.models.dropout import VALUES, ByteDropout, use_byte_dropout


@pytest.mark.parametrize("p", [0.1, 0.15, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_share_scale_and_independence(p, dtype):
    torch.manual_seed(1)
    states = torch.ones(2000, 333, dtype=dtype)
    out = ByteDropout(p)(states)
    share = round(p * VALUES) / VALUES
    assert out.dtype == dtype
    assert set(out.unique().tolist()) == {0.0, torch.tensor(1 / (1 - share), dtype=dtype).item()}
    zero = (out == 0).double()
    deviation = (share * (1 - share)) ** 0.5
    assert abs(zero.mean() - share) < 5 * deviation / zero.numel() ** 0.5
    # Columns, rows and neighbours in memory (bytes of one word) know nothing of each other.
    assert (zero.mean(0) - share).abs().max() < 5 * deviation / 2000**0.5
    assert (zero.mean(1) - share).abs().max() < 5 * deviation / 333**0.5
    flat = zero.flatten()
    for distance in (1, 2, 4, 8, 333):
        correlation = torch.corrcoef(torch.stack([flat[:-distance], flat[distance:]]))[0, 1]
        assert abs(correlation) < 5 / len(flat) ** 0.5


def test_gradient_is_that_of_the_kept_elements():
    torch.manual_seed(2)
    states = torch.randn(40, 30, requires_grad=True)
    out = ByteDropout(0.3)(states)
    gradient = torch.randn(40, 30)
    out.backward(gradient)
    scale = VALUES / (VALUES - round(0.3 * VALUES))
    torch.testing.assert_close(states.grad, gradient * (out != 0) * scale)


def test_seed_decides_and_other_sizes_fit():
    for shape in [(1,), (7,), (3, 5), (0, 4), (8, 8)]:
        drawn = []
        for seed in (3, 3, 4):
            torch.manual_seed(seed)
            drawn.append(ByteDropout(0.5)(torch.ones(shape)))
        assert drawn[0].shape == shape
        torch.testing.assert_close(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_eval_and_the_ends_are_torch_s():
    states = torch.randn(5, 5)
    for p, expected in ((0.0, states), (1.0, torch.zeros(5, 5)), (0.001, states)):
        module = ByteDropout(p)
        if p != 0.001:
            torch.testing.assert_close(module(states), expected)
        torch.testing.assert_close(module.eval()(states), states)


def test_a_model_keeps_its_names_weights_and_mode():
    config = BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8, hidden_dropout_prob=0.25)
    model = BertModel(config).eval()
    before, ids = model.state_dict(), torch.randint(0, 50, (4, 6))
    expected = model(ids).last_hidden_state
    use_byte_dropout(model)
    assert list(model.state_dict()) == list(before)
    assert not [part for part in model.modules() if type(part) is nn.Dropout]
    assert model.embeddings.dropout.p == 0.25
    torch.testing.assert_close(model(ids).last_hidden_state, expected)
    assert not torch.equal(model.train()(ids).last_hidden_state, expected)
