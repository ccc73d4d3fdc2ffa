"""The kept set, one step against its formula, and a whole training with teacher scores and re-ranking behind it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from finetuning import QUERIES, make_context
from pair_tokens import pair_tokens
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification

from simlm.corpus.store import CorpusStore
from simlm.errors import UserError
from simlm.hardware import Precision
from simlm.models.crossencoder import CrossEncoderModel, PairScorer, keep_hardest
from simlm.models.text import pad
from simlm.stages.score_teacher import score_teacher
from simlm.training.crossencoder import CrossEncoderTraining, train
from simlm.training.losses import ranking_loss
from simlm.training.queries import training_groups
from simlm.training.teacher_scores import TeacherScores

BLOCK = {"kind": "crossencoder", "negatives": "bm25", "steps": 150, "batch_size": 8, "hard_negatives": 7, "learning_rate": 2e-3, "warmup_steps": 5}
BLOCK |= {"max_length": 32, "threads": 1, "log_steps": 20, "forward_factor": 1}
STUDENT = {"kind": "biencoder", "negatives": "bm25", "teacher": "reranker", "steps": 5, "batch_size": 16, "hard_negatives": 3, "threads": 1}


@pytest.fixture
def classifier(word_tokenizer):
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "initializer_range": 0.3}
    return BertForSequenceClassification(BertConfig(vocab_size=len(word_tokenizer), num_labels=1, **size)).eval()


def pairs(tokenizer, groups: int, group: int):
    words = ["swap", "two columns", "matrix row", "sort", "list find join", "numbers of a"]
    texts = [" ".join(words[(i * 7 + j) % 6] for j in range(1 + i % 5)) for i in range(groups * group)]
    queries = [words[i // group % 6] for i in range(groups * group)]
    return pad(pair_tokens(tokenizer, queries, [""] * len(texts), texts, 32), tokenizer)


def test_the_positive_and_the_hardest_are_kept():
    scores = torch.tensor(np.random.default_rng(0).normal(size=(5, 64)))
    kept = keep_hardest(scores, 4)
    assert kept.shape == (5, 16)
    for row, places in zip(scores, kept):
        hardest = sorted(range(1, 64), key=lambda i: -row[i])[:15]
        assert places.tolist() == [0, *hardest]
    assert keep_hardest(scores[:, :3], 4).shape == (5, 2)


def test_a_step_trains_on_the_kept_set_alone(classifier, word_tokenizer):
    batch = pairs(word_tokenizer, 3, 8)
    logits = classifier(**batch).logits[:, 0].view(3, 8)
    training = CrossEncoderTraining(CrossEncoderModel(classifier), forward_factor=2, rdrop_weight=0.0).eval()
    kept = training.select(batch, 8)
    assert torch.equal(kept, keep_hardest(logits, 2))
    values = training(batch, 8)
    torch.testing.assert_close(values["loss"], ranking_loss(logits.gather(1, kept)), atol=1e-5, rtol=1e-5)
    # Without dropout R-Drop's two passes agree.
    training.rdrop_weight = 1.0
    torch.testing.assert_close(training(batch, 8)["loss"], values["loss"])


def test_choosing_leaves_dropout_on_and_needs_no_gradient(classifier, word_tokenizer):
    training = CrossEncoderTraining(CrossEncoderModel(classifier), forward_factor=4, rdrop_weight=1.0).train()
    values = training(pairs(word_tokenizer, 2, 8), 8)
    assert classifier.training
    assert values["divergence"] > 0
    values["loss"].backward()
    assert classifier.bert.embeddings.word_embeddings.weight.grad.abs().sum() > 0


def test_scoring_is_transformers_own(tmp_path, classifier, word_tokenizer):
    from simlm.models.folder import save_model

    save_model(tmp_path / "c", classifier, word_tokenizer, kind="crossencoder", key="k", lengths={"pair": 16})
    titles, texts = ["row", "", "matrix"], ["swap two columns " * 6, "sort", "find a list"]
    ours = PairScorer.open(tmp_path / "c", Precision("fp32", "test")).score("swap a row", titles, texts)
    tokenizer, model = AutoTokenizer.from_pretrained(tmp_path / "c"), AutoModelForSequenceClassification.from_pretrained(tmp_path / "c")
    second = ["row: " + texts[0], "sort", "matrix: find a list"]
    batch = tokenizer(["swap a row"] * 3, second, truncation=True, max_length=16, padding=True, return_tensors="pt")
    with torch.inference_mode():
        np.testing.assert_allclose(ours, model(**batch).logits[:, 0].numpy(), atol=1e-5)
    with pytest.raises(UserError, match="does not exist"):
        PairScorer.open(tmp_path / "nothing", Precision("fp32", "test"))


def test_training_then_teacher_scores(tmp_path, word_tokenizer):
    context = make_context(tmp_path, word_tokenizer, {"reranker": dict(BLOCK), "distilled": dict(STUDENT)})
    with pytest.raises(UserError, match="run simlm train --model reranker"):
        score_teacher(context, "distilled")
    train(context, "reranker")
    record = json.loads(context.paths.record("train.reranker").read_text())
    assert record["metrics"]["held_out/RR"] > 0.6  # chance among 8: 0.34
    score_teacher(context, "distilled")
    store = CorpusStore(context.paths.corpus)
    groups = training_groups(context, context.experiment.models["distilled"], store)
    scores = TeacherScores.read(context.paths.teacher_scores("distilled"), "distilled", groups, tmp_path)
    assert json.loads(context.paths.record("score_teacher.distilled").read_text())["metrics"]["pairs"] == len(scores.rows) < QUERIES * 12
    seen = np.setdiff1d(np.arange(QUERIES), groups.holdout(7, 200))
    scorer = PairScorer.open(context.paths.model("reranker"), Precision("fp32", "test"))
    queries = store.queries("train")
    for query in seen[:3].tolist():
        rows = groups.visit(7, 0, query, 3, "shuffled")
        np.testing.assert_allclose(scores.of(query, rows), scorer.score(queries[f"q{query}"], *store.texts(rows)), atol=1e-4)
