"""Fixtures that several areas share: a small real vocabulary and encoder, made on the spot."""

from __future__ import annotations

import os

import hypothesis
import pytest

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("simlm", deadline=None)
hypothesis.settings.load_profile("simlm")

if "PYTEST_XDIST_WORKER" in os.environ:
    # The cores are shared by these processes: a second thread of torch would spin while it waits for one of them. Before torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Fast tests first; where several processes share them the slow ones first, because whole files of them go to one process."""
    shared = getattr(config, "workerinput", None) is not None
    items.sort(key=lambda item: (item.get_closest_marker("slow") is None) == shared)


def pytest_make_parametrize_id(val, argname):
    """Bytes are numbered, not spelt out in a test's name: a compressed file holds the second it was made in, and processes would disagree."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture
def threads_as_before():
    """Commands that are called in this process set torch's threads; the tests after them must not see it."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def word_tokenizer():
    """A WordPiece tokenizer over a handful of words."""
    from small_vocabulary import word_tokenizer

    return word_tokenizer()


@pytest.fixture
def tiny_encoder(word_tokenizer):
    """A random two-layer BERT over :func:`word_tokenizer`, without pooler, 64 positions."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}
    return BertModel(BertConfig(vocab_size=len(word_tokenizer), **size), add_pooling_layer=False).eval()


@pytest.fixture
def made(tmp_path):
    """A whole results folder as the stages leave it (see made_results.py), with hostile texts in the corpus."""
    from made_results import MadeResults

    return MadeResults(tmp_path / "results")


@pytest.fixture
def searchable(tmp_path, word_tokenizer):
    """An experiment with a corpus, a BM25 index and models, not yet embedded (see searchable_experiment.py)."""
    from searchable_experiment import make

    return make(tmp_path / "results", word_tokenizer)
