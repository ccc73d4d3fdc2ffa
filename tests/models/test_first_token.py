"""The shortened last layer against transformers' whole one."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, BertConfig, DistilBertConfig, ElectraConfig

from simlm.models.batches import cut_by_length, cut_by_tokens, in_pieces, rounded_up
from simlm.models.biencoder import BiEncoderModel
from simlm.models.first_token import only_first_token
from simlm.models.text import Tokens, pad

SIZE = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def batch():
    torch.manual_seed(1)
    mask = torch.ones(5, 9, dtype=torch.long)
    mask[1, 4:] = 0
    mask[3, 2:] = 0
    return {"input_ids": torch.randint(5, 50, (5, 9)), "attention_mask": mask, "token_type_ids": torch.zeros(5, 9, dtype=torch.long)}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("config", [BertConfig, ElectraConfig])
@pytest.mark.parametrize("auto", [AutoModel, AutoModelForSequenceClassification])
def test_same_values_and_gradients(config, auto, attention):
    whole = auto.from_config(config(**SIZE, num_labels=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), attn_implementation=attention)
    short = copy.deepcopy(whole)
    assert only_first_token(short)
    assert list(short.state_dict()) == list(whole.state_dict())

    def read(model):
        output = model(**batch())
        return output.logits if "logits" in output else output.last_hidden_state[:, 0]

    torch.testing.assert_close(read(short), read(whole), atol=1e-6, rtol=1e-5)
    for model in (short, whole):
        read(model).square().sum().backward()
    for (name, ours), theirs in zip(short.named_parameters(), whole.parameters()):
        assert (ours.grad is None) == (theirs.grad is None)
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_dropout_of_attention_takes_the_bias_of_values_along(monkeypatch):
    """Every third token is dropped in both: shares that do not add up to one must weigh the bias, too."""
    config = BertConfig(**SIZE, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.3)
    config._attn_implementation = "eager"
    whole = AutoModel.from_config(config).train()
    for layer in whole.encoder.layer:
        torch.nn.init.normal_(layer.attention.self.value.bias)
        torch.nn.init.normal_(layer.attention.self.key.bias)
    short = copy.deepcopy(whole)
    assert only_first_token(short)

    def every_third(states, p=0.5, training=True, inplace=False):
        assert training
        assert p in (0.0, 0.3)
        return states * (torch.arange(states.shape[-1]) % 3 != 0) / (1 - p) if p else states

    monkeypatch.setattr(torch.nn.functional, "dropout", every_third)
    torch.testing.assert_close(short(**batch()).last_hidden_state[:, 0], whole(**batch()).last_hidden_state[:, 0], atol=1e-5, rtol=1e-4)


def test_other_architectures_are_left_alone():
    model = AutoModel.from_config(DistilBertConfig(vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=32))
    assert not only_first_token(model)


def texts(count: int) -> Tokens:
    draw = np.random.default_rng(0)
    return Tokens.from_lists([[2, *draw.integers(5, 20, draw.integers(1, 40)).tolist(), 3] for _ in range(count)])


@pytest.mark.parametrize("most", [None, 7])
def test_embeddings_in_pieces_are_those_of_one_batch(tiny_encoder, word_tokenizer, most):
    batch = pad(texts(80), word_tokenizer)
    whole = torch.nn.functional.normalize(tiny_encoder(**batch).last_hidden_state[:, 0], dim=-1)
    assert len(in_pieces(batch, most)[0]) > 1
    torch.testing.assert_close(BiEncoderModel(tiny_encoder, most)(batch), whole, atol=1e-6, rtol=1e-5)


def test_recomputing_gives_the_same_gradient(tiny_encoder, word_tokenizer):
    tiny_encoder.config.hidden_dropout_prob = tiny_encoder.config.attention_probs_dropout_prob = 0.0
    batch, gradients = pad(texts(20), word_tokenizer), []
    for most in (None, 3):
        model = BiEncoderModel(copy.deepcopy(tiny_encoder), most).eval()
        model(batch)[:, 0].sum().backward()
        gradients.append(model.encoder.embeddings.word_embeddings.weight.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("most", [None, 3, 20])
def test_pieces_hold_every_text_once(most):
    lengths = np.random.default_rng(2).integers(1, 40, 100)
    pieces = cut_by_length(lengths, most_texts=most)
    assert sorted(np.concatenate(pieces).tolist()) == list(range(100))
    assert max(map(len, pieces)) <= (most or 100)
    assert most or len(pieces) <= 4
    assert cut_by_length(np.zeros(0, int)) == []


def test_scored_batches_hold_every_text_once_within_their_tokens():
    lengths = np.random.default_rng(2).integers(1, 40, 100)
    pieces = cut_by_tokens(lengths, 100)
    assert sorted(np.concatenate(pieces).tolist()) == list(range(100))
    assert all(len(piece) * rounded_up(lengths[piece]).max() <= 100 for piece in pieces)
    assert [piece.tolist() for piece in cut_by_tokens(np.array([500, 3]), 100)] == [[0], [1]]
