"""Whole trainings of tiny bi-encoders through the real Trainer, files and all."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from finetuning import QUERIES, make_context
from transformers import AutoModel, AutoTokenizer

from simlm.corpus.store import CorpusStore
from simlm.errors import UserError
from simlm.models.batches import MULTIPLE
from simlm.models.biencoder import BiEncoderModel
from simlm.models.loading import load_tokenizer
from simlm.models.manifest import read_manifest
from simlm.models.text import pad, tokenize_passages, tokenize_queries
from simlm.training.biencoder import BiEncoderTraining, train
from simlm.training.groups import read_groups
from simlm.training.losses import contrastive_loss, distillation_loss
from simlm.training.teacher_scores import write_teacher_scores

BLOCK = {"kind": "biencoder", "negatives": "bm25", "steps": 100, "batch_size": 16, "hard_negatives": 3, "learning_rate": 1e-3, "warmup_steps": 5}
BLOCK |= {"query_length": 8, "passage_length": 24, "threads": 1, "log_steps": 20, "temperature": 0.05}


def embed(folder, kind: str, *texts) -> torch.Tensor:
    """As a user would, with transformers alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    batch = tokenizer(*texts, truncation=True, max_length={"query": 8, "passage": 24}[kind], padding=True, return_tensors="pt")
    with torch.inference_mode():
        return torch.nn.functional.normalize(model(**batch).last_hidden_state[:, 0], dim=-1)


def rank_of_own(context, name: str) -> float:
    """Mean reciprocal rank of each dev query's passage."""
    store, folder = CorpusStore(context.paths.corpus), context.paths.model(name)
    titles, texts = store.texts(range(len(store)))
    scores = embed(folder, "query", list(store.queries("dev").values())) @ embed(folder, "passage", [title or "-" for title in titles], texts).T
    own = scores[torch.arange(len(scores)), torch.arange(len(scores))]
    return float((1 / (scores >= own[:, None]).sum(1)).mean())


def test_contrastive_training_finds_the_passages(tmp_path, word_tokenizer):
    context = make_context(tmp_path, word_tokenizer, {"retriever1": dict(BLOCK)})
    train(context, "retriever1")
    assert rank_of_own(context, "retriever1") > 0.5  # chance: about 0.09
    manifest = read_manifest(context.paths.model("retriever1"))
    assert manifest["kind"] == "biencoder"
    assert manifest["lengths"] == {"query": 8, "passage": 24}
    record = json.loads(context.paths.record("train.retriever1").read_text())
    assert record["key"] == manifest["key"]
    assert record["notes"]["queries"]["trained"] == QUERIES - QUERIES // 10
    assert record["metrics"]["held_out/RR"] > 0.3
    assert "cautions" not in record["notes"]
    assert record["notes"]["passages"] == {"as long as is read of them": "0.0%"}
    assert "## Usage" in (context.paths.model("retriever1") / "README.md").read_text()
    history = [json.loads(line) for line in context.paths.history("retriever1").read_text().splitlines()]
    assert any("held_out/RR" in line for line in history)


def test_bounded_memory_changes_nothing(tmp_path, word_tokenizer):
    """micro_batch_size bounds what is forwarded at once; in-batch negatives still span the whole batch."""
    block = {**BLOCK, "steps": 4, "log_steps": 1}
    context = make_context(tmp_path, word_tokenizer, {"whole": dict(block), "bounded": {**block, "micro_batch_size": 4}})
    histories = []
    for name in ("whole", "bounded"):
        train(context, name)
        lines = [json.loads(line) for line in context.paths.history(name).read_text().splitlines()]
        histories.append([(line["loss"], line["grad_norm"]) for line in lines if "loss" in line])
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-3)
    assert len(histories[0]) == 4


def test_without_mined_negatives(tmp_path, word_tokenizer):
    block = {**BLOCK, "steps": 3, "score_terms": "code", "holdout": 0}
    del block["negatives"]
    context = make_context(tmp_path, word_tokenizer, {"plain": block})
    train(context, "plain")
    assert read_manifest(context.paths.model("plain"))["kind"] == "biencoder"
    (caution,) = json.loads(context.paths.record("train.plain").read_text())["notes"]["cautions"]
    assert "3 steps (48 examples, batch_size 16) and 5 of warm-up" in caution


def test_distillation_follows_the_teacher(tmp_path, word_tokenizer):
    """A teacher that prefers passage 3 whatever the query: the student learns it when the contrastive loss is off."""
    models = {"distilled": {**BLOCK, "teacher": "reranker", "contrastive_weight": 0.0, "holdout": 0, "steps": 80}}
    models["reranker"] = {"kind": "crossencoder", "negatives": "bm25", "steps": 1}
    context = make_context(tmp_path, word_tokenizer, models)
    rows = np.arange(QUERIES)
    scored = [(f"q{i}", rows, np.where(rows == 3, 8.0, 0.0)) for i in range(QUERIES)]
    with pytest.raises(UserError, match=r"distilled\.parquet does not exist"):
        train(context, "distilled")
    write_teacher_scores(context.paths.teacher_scores("distilled"), scored, {})
    train(context, "distilled")
    store, folder = CorpusStore(context.paths.corpus), context.paths.model("distilled")
    titles, texts = store.texts(rows)
    scores = embed(folder, "query", list(store.queries("train").values())) @ embed(folder, "passage", [title or "-" for title in titles], texts).T
    assert (scores[:, 3] >= scores.quantile(0.9, dim=1)).float().mean() > 0.8


def test_a_step_is_the_losses_of_its_embeddings(tmp_path, tiny_encoder, word_tokenizer):
    queries, passages = ["swap a matrix", "sort a list"], ["swap the matrix", "invert", "sort the list", "read and write a row"]
    tokens = tokenize_queries(word_tokenizer, queries, 8), tokenize_passages(word_tokenizer, [""] * 4, passages, 16)
    batch = {name: pad(part, word_tokenizer, MULTIPLE) for name, part in zip(("queries", "passages"), tokens)}
    q, p = (torch.nn.functional.normalize(tiny_encoder(**batch[name]).last_hidden_state[:, 0], dim=-1) for name in ("queries", "passages"))
    teacher, rows = torch.tensor([[3.0, 1.0], [0.5, 2.0]]), torch.arange(4)
    student = torch.stack([q[0] @ p[:2].T, q[1] @ p[2:].T]) / 0.02
    expected = distillation_loss(student, teacher) + 0.2 * contrastive_loss(q, p, rows, 0.02)
    values = BiEncoderTraining(BiEncoderModel(tiny_encoder), 0.02, 0.2)(**batch, rows=rows, teacher=teacher)
    torch.testing.assert_close(values["loss"], expected, atol=1e-5, rtol=1e-5)
    margins = BiEncoderTraining(BiEncoderModel(tiny_encoder), 0.02, 0.0, distillation=("margin_mse", 0.1))(**batch, rows=rows, teacher=teacher)["loss"]
    torch.testing.assert_close(margins, (student[:, 0] - student[:, 1] - torch.tensor([20.0, -15.0])).square().mean(), atol=1e-3, rtol=1e-5)
    assert int(values["tokens"]) == int(tokens[0].lengths.sum() + tokens[1].lengths.sum())


def test_dropout_changes_the_training_and_not_the_saved_configuration(tmp_path, word_tokenizer):
    context = make_context(tmp_path, word_tokenizer, {"without": {**BLOCK, "dropout": 0.0}, "with": {**BLOCK, "dropout": 0.5}})
    for name in ("without", "with"):
        train(context, name)
    first, second = (AutoModel.from_pretrained(context.paths.model(name)) for name in ("without", "with"))
    assert not torch.equal(first.embeddings.word_embeddings.weight, second.embeddings.word_embeddings.weight)
    assert second.config.hidden_dropout_prob == first.config.hidden_dropout_prob


def test_what_does_not_fit_is_refused(tmp_path, word_tokenizer):
    models = {"long": {**BLOCK, "passage_length": 65}, "nothing": {**BLOCK, "init": str(tmp_path / "nothing")}, "unmined": {**BLOCK, "negatives": "long"}}
    context = make_context(tmp_path, word_tokenizer, models)
    with pytest.raises(UserError, match=r"models\.long\.passage_length is 65, but .* reads at most 64"):
        train(context, "long")
    with pytest.raises(UserError, match="does not exist"):
        train(context, "nothing")
    with pytest.raises(UserError, match=r"long\.parquet does not exist"):
        train(context, "unmined")
    assert not context.paths.record("train.long").exists()


def test_the_groups_of_an_experiment_hold_no_false_negatives(tmp_path, word_tokenizer):
    context = make_context(tmp_path, word_tokenizer, {"retriever1": dict(BLOCK)})
    groups = read_groups(context.paths.negatives("bm25"), CorpusStore(context.paths.corpus), 3, tmp_path)
    for query in range(len(groups)):
        seen = groups.visited(1, range(9), query, 3, "shuffled")
        assert query in seen
        assert not np.isin(groups.positives_of(query), seen[seen != query]).any()
    assert load_tokenizer(tmp_path / "base").pad_token_id == 0
