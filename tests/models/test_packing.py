"""Packed rows against padded batches: the same states and gradients in every architecture, and no text that another one moves."""

from __future__ import annotations

import pytest
import torch
import transformers
from architectures import ARCHITECTURES, WORDS, save, tokenizer

from simlm.models.biencoder import BiEncoderModel
from simlm.models.crossencoder import CrossEncoderModel
from simlm.models.loading import fit_tokenizer, load_classifier, load_encoder, load_tokenizer
from simlm.models.packing import Row, is_packed, use_packing
from simlm.models.pooling import VectorHead
from simlm.models.text import Tokens, pad

REFUSED = {"MPNet": "a mpnet counts the distances", "DebertaV2": "a deberta-v2 counts the distances"}
LENGTHS = [3, 40, 11, 2, 64, 17, 29, 5, 5, 60, 3, 33, 12, 8, 21, 4, 47, 9]


def texts(own, lengths=LENGTHS, seed=0):
    """Token lists of these lengths, with first and last token; two segments where the tokenizer has token types."""
    drawn = torch.Generator().manual_seed(seed)
    ids = [[own.cls_token_id, *torch.randint(5, 5 + len(WORDS), (length - 2,), generator=drawn).tolist(), own.sep_token_id] for length in lengths]
    return Tokens.from_lists(ids, [[0] * (length // 2) + [1] * (length - length // 2) for length in lengths])


def loaded(folder, load=load_encoder):
    """A model twice, padded and packed, and a batch for it."""
    models, own = [], load_tokenizer(folder)
    for _ in range(2):
        torch.manual_seed(2)  # the head of a re-ranker is drawn
        models.append(load(folder))
    fit_tokenizer(own, models[0], folder)
    assert use_packing(models[1]) is None
    assert [is_packed(model) for model in models] == [False, True]
    return models, pad(texts(own), own, 8)


def changed(name):
    """ModernBERT's local layers see less than the texts here are long, and dropout is off: padding draws numbers as well."""

    def change(config):
        if name == "ModernBert":
            config.sliding_window, config.layer_types = 4, ["full_attention", "sliding_attention"]
        for rate in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "classifier_dropout_prob", "seq_classif_dropout"):
            if hasattr(config, rate):
                setattr(config, rate, 0.0)

    return change


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def assert_same_gradients(found, wanted):
    assert found.keys() == wanted.keys()
    largest = max(float(value.abs().max()) for value in wanted.values())
    for name, value in wanted.items():
        # That of a key's bias is 0 but for rounding: a softmax does not see what all of its inputs have in common.
        assert float((found[name] - value).abs().max()) <= 1e-5 * max(float(value.abs().max()), 0.1 * largest), name


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in REFUSED])
def test_packed_is_padded(name, tmp_path):
    """States of all tokens and all layers, and gradients of all weights; in training mode without dropout."""
    (padded, packed), batch = loaded(save(tmp_path / "m", name, change=changed(name)))
    mask = batch["attention_mask"].bool()
    weights = torch.randn(*mask.shape, padded.config.hidden_size, generator=torch.Generator().manual_seed(1)) * mask[..., None]
    found = []
    for model in (padded, packed):
        output = model.train()(**batch, output_hidden_states=True)
        assert output.last_hidden_state.shape == weights.shape
        found.append((output, gradients(model, (output.last_hidden_state * weights).sum())))
    (wanted, expected), (own, got) = found
    for one, other in zip((wanted.last_hidden_state, *wanted.hidden_states), (own.last_hidden_state, *own.hidden_states), strict=True):
        torch.testing.assert_close(other[mask], one[mask], atol=1e-6, rtol=1e-6)
    assert_same_gradients(got, expected)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in REFUSED])
def test_heads_read_what_they_read(name, tmp_path):
    """A re-ranker's logits, whatever its architecture reads of the first token; where it can, the last layer is computed for that one alone."""
    (padded, packed), batch = loaded(save(tmp_path / "m", name, "ForSequenceClassification", change=changed(name)), load_classifier)
    wanted, found = (CrossEncoderModel(model).train() for model in (padded, packed))
    logits = [model.score(batch) for model in (wanted, found)]
    torch.testing.assert_close(logits[1], logits[0], atol=1e-6, rtol=1e-6)
    assert_same_gradients(gradients(found, logits[1].sin().sum()), gradients(wanted, logits[0].sin().sum()))


@pytest.mark.parametrize("name", REFUSED)
def test_distances_over_the_row_are_refused(name, tmp_path):
    """And the model goes on reading padding."""
    model = load_encoder(save(tmp_path / "m", name))
    assert REFUSED[name] in use_packing(model)
    assert not is_packed(model)


def test_a_causal_model_is_refused():
    config = transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=30, is_decoder=True)
    assert "looks back only" in use_packing(transformers.BertModel(config))


@pytest.mark.parametrize("pooling", [("cls",), ("mean", "max", "lasttoken", "weightedmean")])
@pytest.mark.parametrize("name", ["Bert", "Roberta", "ModernBert"])
def test_no_text_moves_another(name, pooling, tmp_path):
    """Poison: with other words in one text, no bit of any other text's vector changes, and its own does; nor does NaN spread."""
    (_, packed), batch = loaded(save(tmp_path / "m", name))
    model = BiEncoderModel(packed, head=VectorHead(pooling)).eval()
    with torch.inference_mode():
        clean = model(batch)
        for text in (0, 4, 17):
            ids = batch["input_ids"].clone()
            ids[text, 1 : LENGTHS[text] - 1] = 5 + (ids[text, 1 : LENGTHS[text] - 1] + 1) % len(WORDS)
            moved = (model({**batch, "input_ids": ids}) != clean).any(1)
            assert moved.nonzero()[:, 0].tolist() == [text]
        embeddings = packed.get_input_embeddings()
        embeddings.weight[-1] = torch.nan
        batch["input_ids"][4, 1] = len(embeddings.weight) - 1
        poisoned = model(batch)
    assert torch.isnan(poisoned[4]).all()
    others = torch.arange(len(clean)) != 4
    assert torch.equal(poisoned[others], clean[others])


@pytest.mark.parametrize("name", ["Bert", "ModernBert", "Roberta"])
def test_vectors_of_a_packed_batch(name, tmp_path):
    """Of first tokens alone and of means, in the batch's order, with a text that has no token."""
    (padded, packed), batch = loaded(save(tmp_path / "m", name))
    batch["attention_mask"][7] = 0
    for pooling in (("cls",), ("mean", "max")):
        vectors = [BiEncoderModel(model, head=VectorHead(pooling, normalize=False)).eval()(batch) for model in (padded, packed)]
        torch.testing.assert_close(vectors[1], vectors[0], atol=1e-6, rtol=1e-6)
        assert not vectors[1][7].any()


def test_a_row_has_the_tokens_in_one_piece():
    """Positions, grids and places by hand: 3 texts of 2, 0 and 3 tokens."""
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]])
    row = Row.of(mask)
    ids = torch.arange(12).view(3, 4)
    assert row.packed(ids)[0, :5].tolist() == [0, 1, 8, 9, 10]
    assert row.positions[0, :5].tolist() == [0, 1, 0, 1, 2]
    assert row.counted[:, 0].sum() == 5
    assert sum(grid.tokens for grid in row.grids) == row.positions.shape[1] == 64
    states = row.padded(row.packed(ids[..., None]).float())[..., 0]
    assert states[mask.bool()].tolist() == [0, 1, 8, 9, 10]


def test_all_texts_empty():
    assert not Row.of(torch.zeros(2, 4, dtype=torch.long)).padded(torch.ones(1, 64, 3)).isnan().any()


def test_a_layer_is_one_graph(tmp_path):
    """Compiled as a whole, with the same states and gradients."""
    (_, packed), batch = loaded(save(tmp_path / "m", "Bert", change=changed("Bert")))
    row, layer = Row.of(batch["attention_mask"]), packed.encoder.layer[0].train()
    states = torch.randn(1, row.positions.shape[1], 32, generator=torch.Generator().manual_seed(1))
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True, dynamic=False)
    wanted, found = layer(states, packed=row), compiled(states, packed=row)
    torch.testing.assert_close(found, wanted)
    assert_same_gradients(gradients(layer, found.sin().sum()), gradients(layer, wanted.sin().sum()))


def test_the_configuration_says_nothing_of_it(tmp_path):
    """What is saved opens anywhere, as what it was."""
    folder = save(tmp_path / "m", "Bert")
    model = load_encoder(folder)
    use_packing(model)
    model.save_pretrained(tmp_path / "out")
    tokenizer("bert").save_pretrained(tmp_path / "out")
    assert "packed" not in (tmp_path / "out" / "config.json").read_text()
    again = load_encoder(tmp_path / "out")
    assert not is_packed(again)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
