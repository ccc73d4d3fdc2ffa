"""Pieces that do not fit into the device's memory: real trainings, embeddings and scores in which a piece above a size fails as a GPU lets it fail."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from finetuning import QUERIES, make_context
from safetensors.torch import load_file

from simlm.corpus.store import CorpusStore
from simlm.errors import UserError
from simlm.hardware import Precision
from simlm.models.biencoder import BiEncoderModel
from simlm.models.crossencoder import CrossEncoderModel, PairScorer
from simlm.retrieval.encoder import TextEncoder
from simlm.stages.train import train
from simlm.training.history import read_history

SETTINGS = {"negatives": "bm25", "steps": 4, "batch_size": 8, "hard_negatives": 3, "threads": 1, "log_steps": 1, "warmup_steps": 1, "holdout": 0}
MODELS = {
    "biencoder": {"kind": "biencoder", "query_length": 16, "passage_length": 32, **SETTINGS},
    "crossencoder": {"kind": "crossencoder", "max_length": 48, "forward_factor": 1, "rdrop_weight": 0.0, **SETTINGS},
}
KEPT = {"biencoder": (BiEncoderModel, "forward"), "crossencoder": (CrossEncoderModel, "forward")}
"""What is given the texts of which a training keeps the activations."""
PIECE = {"biencoder": (BiEncoderModel, "embed"), "crossencoder": (CrossEncoderModel, "score")}


class Memory:
    """Room for so many texts at once, from the ``after``-th forward pass on."""

    def __init__(self, monkeypatch, owner: type, method: str, texts: int, after: int = 0) -> None:
        self.seen: list[int] = []
        real = getattr(owner, method)

        def forward(model, piece):
            self.seen.append(min(len(piece["input_ids"]), (method == "forward" and getattr(model, "most_texts", None)) or 1000))
            if self.seen[-1] > texts and len(self.seen) > after:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return real(model, piece)

        monkeypatch.setattr(owner, method, forward)


def trained(folder, tokenizer, kind: str, **settings):
    context = make_context(folder, tokenizer, {"model": {**MODELS[kind], **settings}})
    train(context, "model")
    return context, load_file(context.paths.model("model") / "model.safetensors")


@pytest.mark.parametrize("kind", ["biencoder", "crossencoder"])
def test_a_training_goes_on_with_half_the_piece(tmp_path, word_tokenizer, monkeypatch, capsys, kind):
    """From the first step on it is the training with the smaller micro-batch, bit for bit; from a later one on, but for rounding."""
    _, expected = trained(tmp_path / "smaller", word_tokenizer, kind, micro_batch_size=4)
    for after in (0, 2):
        with monkeypatch.context() as patch:
            Memory(patch, *KEPT[kind], texts=16, after=after)
            capsys.readouterr()
            context, found = trained(tmp_path / str(after), word_tokenizer, kind)
        said = capsys.readouterr().err
        assert said.count("does not fit into the device's memory; from here on a piece has at most") == 1
        assert "lower models.model.micro_batch_size" in said
        close = {"rtol": 0, "atol": 0} if after == 0 else {"rtol": 1e-3, "atol": 1e-5}
        for name, weights in expected.items():
            torch.testing.assert_close(found[name], weights, **close)
        assert [line["step"] for line in read_history(context.paths.history("model"))] == [1, 2, 3, 4]
        record = json.loads(context.paths.record("train.model").read_text())
        assert "does not fit" in record["notes"]["cautions"][0]


def test_a_training_whose_half_does_not_fit_either_ends_with_the_setting(tmp_path, word_tokenizer, monkeypatch):
    Memory(monkeypatch, *KEPT["crossencoder"], texts=2)
    with pytest.raises(UserError, match=r"model: a piece of 4 examples, half of what was asked for, does not fit .* lower models\.model\.micro_batch_size"):
        trained(tmp_path, word_tokenizer, "crossencoder")


def test_embeddings_are_those_of_half_the_batch(tmp_path, word_tokenizer, monkeypatch, capsys):
    context = make_context(tmp_path, word_tokenizer, {"model": MODELS["biencoder"]})
    folder, store = tmp_path / "base", CorpusStore(context.paths.corpus)
    manifest = json.loads((folder / "simlm.json").read_text())
    (folder / "simlm.json").write_text(json.dumps({**manifest, "kind": "biencoder", "lengths": {"query": 16, "passage": 32}}))
    texts = store.texts(np.arange(QUERIES))
    encoder, smaller = (TextEncoder(folder, Precision("fp32", "asked"), size) for size in (16, 8))
    expected = smaller.passages(*texts)
    memory = Memory(monkeypatch, *PIECE["biencoder"], texts=8)
    assert np.array_equal(encoder.passages(*texts), expected)
    assert max(memory.seen) == 16
    assert (
        "a piece of 16 texts does not fit into the device's memory; from here on a piece has at most 8 (lower encoding.batch_size)" in capsys.readouterr().err
    )
    memory.seen.clear()
    assert np.array_equal(encoder.passages(*texts), expected)
    assert max(memory.seen) <= 8, "it is not tried again"
    Memory(monkeypatch, *PIECE["biencoder"], texts=4)
    with pytest.raises(UserError, match=r"a piece of 8 texts, half of what was asked for, does not fit .* lower encoding\.batch_size"):
        encoder.passages(*texts)


def test_scores_are_those_of_half_the_tokens(tmp_path, word_tokenizer, monkeypatch, capsys):
    context, _ = trained(tmp_path, word_tokenizer, "crossencoder", steps=2)
    store, precision = CorpusStore(context.paths.corpus), Precision("fp32", "asked")
    texts, scorer, smaller = store.texts(np.arange(QUERIES)), *(PairScorer.open(context.paths.model("model"), precision) for _ in range(2))
    scorer.pieces.size, smaller.pieces.size = 16 * 24, 8 * 24
    expected = smaller.score("swap a list", *texts)
    Memory(monkeypatch, *PIECE["crossencoder"], texts=12)
    assert np.array_equal(scorer.score("swap a list", *texts), expected)
    assert "a piece of 384 tokens does not fit" in capsys.readouterr().err
