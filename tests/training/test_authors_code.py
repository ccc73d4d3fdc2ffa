"""What the authors' code does in pre-training where the paper says nothing, as options, against formulas of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_bottleneck_model import MASK, batch, bert
from torch.nn import functional

from simlm.config.kinds import Bottleneck
from simlm.models.bottleneck import BottleneckModel, BottleneckOptions
from simlm.models.text import Tokens
from simlm.training.bottleneck import BottleneckCollator
from simlm.training.distributed import put_shares
from simlm.training.masking import DECODER_STREAM, ENCODER_STREAM, whole_word_mask, word_ids
from simlm.training.randomness import single, uniform

KEYS = np.array([(1, row) for row in range(8)])


def collator(tokenizer, **changes):
    """A collator of eight texts, a third of whose tokens are [UNK]."""
    draw = np.random.default_rng(5)
    words = draw.integers(5, len(tokenizer), (8, 20))
    words[draw.random((8, 20)) < 1 / 3] = tokenizer.unk_token_id
    passages = Tokens.from_lists([[2, *text[: 6 + 2 * row].tolist(), 3] for row, text in enumerate(words)])
    settings = Bottleneck(kind="bottleneck", init="a/b", generator="a/b", steps=1, **changes)
    return BottleneckCollator(passages, tokenizer, settings, seed=3)


def collated(tokenizer, **changes) -> dict:
    return collator(tokenizer, **changes)([tuple(key) for key in KEYS.tolist()])


def test_unknown_tokens_use_up_the_budget_but_stay(word_tokenizer):
    words, kept = collated(word_tokenizer), collated(word_tokenizer, unknown_tokens="kept")
    tokens = words["tokens"]
    unknown = tokens == word_tokenizer.unk_token_id
    assert (words["encoder_masked"] & unknown).any()
    # The budget is that of masks among which unknown tokens count: the masks are theirs, without them.
    for side in ("encoder", "decoder"):
        assert torch.equal(kept[f"{side}_masked"], words[f"{side}_masked"] & ~unknown)
    vocabulary = collator(word_tokenizer).vocabulary
    numbers = word_ids(tokens.numpy(), vocabulary.continues, vocabulary.special)
    draws = [uniform(3, stream, KEYS, tokens.shape[1]) for stream in (ENCODER_STREAM, DECODER_STREAM)]
    first, second = (whole_word_mask(numbers, words["attention_mask"].sum(1).numpy(), share, own) for share, own in zip((0.3, 0.2 / 0.7), draws))
    np.testing.assert_array_equal(words["decoder_masked"].numpy(), first | second)
    special = torch.isin(tokens, torch.tensor(word_tokenizer.all_special_ids))  # [UNK] among them
    assert kept["labelled"].tolist() == (~special).reshape(-1).nonzero()[:, 0].tolist()
    assert kept["counts"][0] == kept["counts"][1] == (~special).sum() < words["counts"][0]


def test_the_generator_learns_from_the_encoders_mask_alone(word_tokenizer):
    torch.manual_seed(0)
    model = BottleneckModel(bert(), bert(layers=1), BottleneckOptions(train_generator=True, generator_labels="encoder")).eval()
    inputs = batch()
    both = BottleneckModel(model.encoder, model.generator, BottleneckOptions(train_generator=True)).eval()(**inputs)
    outputs = model(**inputs)
    masked = inputs["encoder_masked"]
    filled = torch.where(masked, MASK, inputs["tokens"])
    logits = model.generator(input_ids=filled, token_type_ids=inputs["token_types"], attention_mask=inputs["attention_mask"]).logits
    expected = functional.cross_entropy(logits[masked].double(), inputs["tokens"][masked]).item()
    assert outputs["generator_loss"].item() == pytest.approx(expected, rel=1e-5)
    assert both["generator_loss"].item() != pytest.approx(expected, rel=1e-3)
    assert outputs["decoder_replaced"] == both["decoder_replaced"] > 0  # the decoder's text is filled all the same
    counts = [collated(word_tokenizer, train_generator=True, generator_labels=labels) for labels in ("encoder", "both")]
    assert counts[0]["counts"][2] == counts[0]["encoder_masked"].sum()
    assert counts[1]["counts"][2] == counts[1]["encoder_masked"].sum() + counts[1]["decoder_masked"].sum()
    with pytest.raises(ValueError, match="nothing to learn"):
        collator(word_tokenizer, generator_labels="encoder", encoder_corruption="masked")


def test_the_mean_over_micro_batches(word_tokenizer):
    torch.manual_seed(0)
    model = BottleneckModel(bert_of(word_tokenizer), bert_of(word_tokenizer), BottleneckOptions(decoder_layers=1)).eval()
    items = [tuple(key) for key in KEYS.tolist()]
    means = {}
    for what in ("step", "micro_batch"):
        collate = collator(word_tokenizer, mean_over=what)
        pieces = [collate(items[:2]), collate(items[2:])]
        put_shares(pieces)
        means[what] = sum(model(**piece)["encoder_loss"].item() for piece in pieces) / 2
        whole = [collate(items)]
        put_shares(whole)
        means["whole"] = model(**whole[0])["encoder_loss"].item()
    collate = collator(word_tokenizer)
    own = []
    for some in (items[:2], items[2:]):
        piece = collate(some)
        del piece["counts"]
        own.append(model(**piece)["encoder_loss"].item())
    assert means["step"] == pytest.approx(means["whole"], rel=1e-5)
    assert means["micro_batch"] == pytest.approx(sum(own) / 2, rel=1e-6)
    assert means["micro_batch"] != pytest.approx(means["step"], rel=1e-4)


def bert_of(tokenizer):
    from transformers import BertConfig, BertForMaskedLM

    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 32}
    return BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), initializer_range=0.4, **size))


def test_draws_stay_below_one_in_single_precision():
    draws = np.array([0.0, 0.25, 1 - 2.0**-24, 1 - 2.0**-26, 1 - 2.0**-53])
    assert draws.astype(np.float32).max() == 1
    assert single(draws).dtype == np.float32
    assert single(draws).max() < 1
    np.testing.assert_array_equal(single(draws)[:3], draws[:3])
