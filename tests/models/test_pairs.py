"""Joined pairs against the tokenizer's own pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair_tokens import pair_tokens

from simlm.errors import UserError
from simlm.models.pairs import PairJoiner

WORDS = st.lists(st.sampled_from(["swap", "two", "columns", "matrix", "unseen", "numpy", "row"]), max_size=14).map(" ".join)


def same(ours, theirs) -> bool:
    return all(np.array_equal(getattr(ours, name), getattr(theirs, name)) for name in ("ids", "offsets", "second"))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=4), length=st.integers(5, 40))
def test_join_is_what_the_tokenizer_gives(word_tokenizer, texts, length):
    queries, titles, passages = zip(*texts)
    joiner = PairJoiner(word_tokenizer, length)
    ours = joiner.join(joiner.queries(queries), joiner.passages(titles, passages))
    assert same(ours, pair_tokens(word_tokenizer, queries, titles, passages, length))


def test_other_special_tokens(word_tokenizer):
    from tokenizers import processors

    backend = word_tokenizer.backend_tokenizer
    kept = backend.post_processor
    try:
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        joiner = PairJoiner(word_tokenizer, 12)
        ours = joiner.join(joiner.queries(["swap two columns"] * 2), joiner.passages(["", "row"], ["sort list", "matrix " * 9]))
        assert same(ours, pair_tokens(word_tokenizer, ["swap two columns"] * 2, ["", "row"], ["sort list", "matrix " * 9], 12))
    finally:
        backend.post_processor = kept


def test_a_length_without_room_is_refused(word_tokenizer):
    with pytest.raises(UserError, match="leaves no room"):
        PairJoiner(word_tokenizer, 4)


def test_no_pairs(word_tokenizer):
    joiner = PairJoiner(word_tokenizer, 12)
    assert len(joiner.join(joiner.queries([]), joiner.passages([], []))) == 0
    assert torch.tensor(joiner.queries([""]).lengths).tolist() == [0]
