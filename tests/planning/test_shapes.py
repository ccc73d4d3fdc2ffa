"""Parameters and operations against real models: transformers' own counts, torch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertForMaskedLM, ElectraConfig, ElectraModel

from simlm.models.first_token import only_first_token
from simlm.planning.shapes import Shape, outside

SHAPE = Shape(layers=3, hidden=64, heads=4, intermediate=96, vocabulary=200, positions=40)


def bert(shape: Shape) -> BertForMaskedLM:
    config = BertConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate, max_position_embeddings=shape.positions,
    )  # fmt: skip
    config._attn_implementation = "eager"
    return BertForMaskedLM(config).eval()


def counted(work) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return counter.get_total_flops()


def test_parameters_are_those_of_the_model():
    assert SHAPE.parameters() == bert(SHAPE).bert.num_parameters()


def test_parameters_of_an_electra_with_a_narrow_table():
    config = ElectraConfig(
        vocab_size=200, embedding_size=32, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, max_position_embeddings=40
    )
    assert Shape(2, 64, 4, 96, 200, 40, embedding=32).parameters() == ElectraModel(config).num_parameters()


@pytest.mark.parametrize("tokens", [8, 40])
def test_operations_are_those_that_torch_counts(tokens):
    model, ids = bert(SHAPE), torch.randint(5, 200, (2, tokens))
    assert SHAPE.forward(tokens) * 2 == counted(lambda: model.bert(ids, attention_mask=torch.ones_like(ids)))
    states = torch.randn(2 * tokens, SHAPE.hidden)
    assert SHAPE.head(2 * tokens) == counted(lambda: model.cls(states))


@pytest.mark.parametrize("tokens", [8, 40])
def test_operations_with_a_last_layer_for_the_first_token_alone(tokens):
    model, ids = bert(SHAPE).bert, torch.randint(5, 200, (2, tokens))
    model.pooler = None
    assert only_first_token(model)
    assert 2 * SHAPE.forward(tokens, first_only=True) == counted(lambda: model(ids, attention_mask=torch.ones_like(ids)))


def test_a_local_folder_is_read(tmp_path):
    bert(SHAPE).save_pretrained(tmp_path)
    assert outside(str(tmp_path)) == (SHAPE, "")


def test_an_unknown_model_is_assumed_and_said_to_be():
    known, guessed = outside("google-bert/bert-base-uncased@main"), outside("someone/else")
    assert known.assumed == ""
    assert guessed.shape == known.shape
    assert "someone/else" in guessed.assumed
    assert "assumed" in guessed.assumed
