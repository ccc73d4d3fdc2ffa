"""Tokens against transformers' own padding and truncation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simlm.models.text import Tokens, pad, titled_texts, tokenize_passages, tokenize_queries

QUERIES = ["swap two columns", "invert a matrix of numbers and columns", ""]
TITLES = ["numpy swap", "", "a"]
TEXTS = ["swap the columns of a matrix " * 10, "two numbers", "invert"]


def reference(tokenizer, first, second, length):
    return tokenizer(first, second, truncation=True, max_length=length, padding=True, return_tensors="pt")


def same(ours, theirs) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_queries_stand_alone(word_tokenizer):
    ours = pad(tokenize_queries(word_tokenizer, QUERIES, 6), word_tokenizer)
    assert same(ours, reference(word_tokenizer, QUERIES, None, 6))


def test_passages_are_pairs_with_a_dash_for_an_absent_title(word_tokenizer):
    ours = pad(tokenize_passages(word_tokenizer, TITLES, TEXTS, 16), word_tokenizer)
    assert same(ours, reference(word_tokenizer, ["numpy swap", "-", "a"], TEXTS, 16))
    assert ours["input_ids"].shape[1] == 16


def test_a_tokenizer_that_cuts_beginnings_sees_the_whole_text(word_tokenizer):
    word_tokenizer.truncation_side = "left"
    texts = ["swap the columns of a matrix " * 20 + "invert two numbers"]
    ours = pad(tokenize_passages(word_tokenizer, ["a"], texts, 16), word_tokenizer)
    assert same(ours, reference(word_tokenizer, ["a"], texts, 16))
    assert word_tokenizer.decode(ours["input_ids"][0, -4:]) == "invert two numbers [SEP]"


def test_pairs_join_title_and_text(word_tokenizer):
    assert titled_texts(TITLES, TEXTS) == ["numpy swap: " + TEXTS[0], "two numbers", "a: invert"]


def test_padding_to_a_multiple(word_tokenizer):
    batch = pad(tokenize_queries(word_tokenizer, QUERIES, 32), word_tokenizer, multiple=8)
    assert batch["input_ids"].shape[1] % 8 == 0
    assert (batch["input_ids"][batch["attention_mask"] == 0] == word_tokenizer.pad_token_id).all()


def test_padding_stays_within_the_models_limit(word_tokenizer):
    word_tokenizer.model_max_length = 13
    tokens = tokenize_passages(word_tokenizer, TITLES, TEXTS, 13)
    assert pad(tokens, word_tokenizer, multiple=8)["input_ids"].shape[1] == 13


def test_take_and_join_keep_the_texts(word_tokenizer):
    tokens = tokenize_passages(word_tokenizer, TITLES, TEXTS, 16)
    order = [2, 0, 0, 1]
    joined = Tokens.join([tokens.take(order[:1]), tokens.take(order[1:])])
    for place, index in enumerate(order):
        np.testing.assert_array_equal(joined[place], tokens[index])
    assert same(pad(joined, word_tokenizer), pad(tokens.take(order), word_tokenizer))


@pytest.mark.parametrize("make", [lambda t: tokenize_queries(t, [], 8), lambda t: tokenize_passages(t, [], [], 8)])
def test_no_texts(word_tokenizer, make):
    assert len(make(word_tokenizer)) == 0
