"""Late interaction: its losses against float64 formulas with their gradients, and whole trainings through the real Trainer."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest
import torch
from finetuning import QUERIES, make_context
from safetensors.torch import load_file
from sentence_transformers.multi_vector_encoder.scoring import colbert_kd_scores

from simlm.config import validate
from simlm.corpus.store import CorpusStore
from simlm.errors import OutOfTime, UserError
from simlm.hardware import Precision
from simlm.indexes.late_interaction import maxsim as exhaustive
from simlm.models.late_interaction import TokenReader, TokenReading
from simlm.models.manifest import read_manifest
from simlm.models.text import pad
from simlm.models.token_retriever import open_token_retriever
from simlm.retrieval.token_encoder import TokenEncoder
from simlm.scoring.maxsim import TokenVectors, maxsim
from simlm.stages.score_teacher import score_teacher
from simlm.training.biencoder import train as train_dense
from simlm.training.groups import read_groups
from simlm.training.late_interaction import LateInteractionTraining, train
from simlm.training.losses import distillation_loss, in_batch_loss
from simlm.training.teacher_scores import TeacherScores, write_teacher_scores

BLOCK = {"kind": "late_interaction", "negatives": "bm25", "steps": 60, "batch_size": 16, "hard_negatives": 3, "learning_rate": 2e-3, "warmup_steps": 5}
BLOCK |= {"query_length": 10, "passage_length": 24, "title": "joined", "dimension": 16, "threads": 1, "log_steps": 20, "temperature": 0.2}


def vectors(texts: int, length: int, seed: int) -> TokenVectors:
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(texts, length, 5))
    values /= np.linalg.norm(values, axis=-1, keepdims=True)
    return TokenVectors(torch.tensor(values), torch.tensor(np.arange(length) < draw.integers(2, length + 1, texts)[:, None]))


def naive_score(query: TokenVectors, passage: TokenVectors, i: int, j: int) -> torch.Tensor:
    """Loop by loop."""
    total = torch.zeros((), dtype=torch.float64)
    for one, there in zip(query.values[i], query.mask[i]):
        if there:
            total = total + torch.stack([one @ other for other, counts in zip(passage.values[j], passage.mask[j]) if counts]).max()
    return total


def naive_in_batch(queries, passages, rows, group, tau) -> torch.Tensor:
    total = 0.0
    for i in range(len(queries)):
        own = i * group
        scores = [naive_score(queries, passages, i, own) / tau]
        for j in range(len(passages)):
            if j // group != i and rows[j] != rows[own]:
                scores.append(naive_score(queries, passages, i, j) / tau)
        total = total - torch.stack(scores).log_softmax(0)[0]
    return total / len(queries)


def naive_list(queries, passages, group, tau, teacher) -> torch.Tensor:
    total = 0.0
    for i in range(len(queries)):
        student = torch.stack([naive_score(queries, passages, i, i * group + j) for j in range(group)]) / tau
        student = student.log_softmax(0)
        if teacher is None:
            total = total - student[0]
        else:
            wanted = teacher[i].double().softmax(0)
            total = total + sum(float(p) * (math.log(p) - s) for p, s in zip(wanted, student))
    return total / len(queries)


@pytest.mark.parametrize("rows", [list(range(9)), [0, 1, 2, 3, 0, 5, 6, 7, 3]], ids=["all different", "copies of positives"])
def test_the_in_batch_loss_and_its_gradient(rows):
    queries, passages = vectors(3, 4, 1), vectors(9, 6, 2)
    gradients = []
    for loss in (naive_in_batch, lambda q, p, rows, group, tau: in_batch_loss(q, p, torch.tensor(rows), tau, maxsim)):
        q, p = (TokenVectors(own.values.clone().requires_grad_(), own.mask) for own in (queries, passages))
        value = loss(q, p, rows, 3, 0.7)
        value.backward()
        gradients.append((value.detach(), q.values.grad, p.values.grad))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-10, atol=1e-12)


def test_the_distillation_is_that_of_sentence_transformers():
    queries, passages, teacher = vectors(3, 4, 3), vectors(12, 6, 4), torch.tensor(np.random.default_rng(5).normal(size=(3, 4)) * 3)
    theirs = colbert_kd_scores(
        queries.values.float(), passages.values.unflatten(0, (3, 4)).float(), queries_mask=queries.mask, documents_mask=passages.mask.unflatten(0, (3, 4))
    )
    expected = torch.nn.KLDivLoss(reduction="batchmean", log_target=True)(theirs.log_softmax(-1), teacher.float().log_softmax(-1))
    assert distillation_loss(maxsim.own(queries, passages), teacher).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("distilled", [True, False], ids=["distilled", "labels alone"])
@pytest.mark.parametrize("augmentation", ["unattended", "none"])
def test_a_step_is_its_losses_with_their_gradients(tiny_encoder, word_tokenizer, tmp_path, distilled, augmentation):
    """The whole module in fp32 against the formulas over its vectors in float64, through to the projection and the encoder."""
    from simlm.models.folder import save_model

    save_model(tmp_path / "base", tiny_encoder, word_tokenizer, kind="mlm", key="k", lengths={"passage": 32})
    torch.manual_seed(0)
    opened = open_token_retriever(tmp_path / "base")
    reader = TokenReader(opened.tokenizer, {"query": 8, "passage": 16}, TokenReading(augmentation=augmentation))
    model = type(opened.model())(opened.encoder, opened.projection, reader).eval()
    texts = ["swap the matrix", "invert - row", "sort the list", "read and write a row", "join", "find numbers : numpy"]
    batch = {"queries": reader.queries(["swap a matrix", "sort a list"]), "passages": reader.passages([""] * 6, texts)}
    padded = {name: pad(tokens, opened.tokenizer, 8) for name, tokens in batch.items()}
    teacher = torch.tensor([[3.0, 1.0, 0.0], [0.5, 2.0, -1.0]]) if distilled else None
    module = LateInteractionTraining(model, 0.5, 0.7, 1.3, distillation=("kl", 0.5))
    values = module(**padded, rows=torch.arange(6), teacher=teacher)
    values["loss"].backward()
    found = {name: parameter.grad.clone() for name, parameter in module.named_parameters() if parameter.grad is not None}
    module.zero_grad()
    module.double()
    q, p = (TokenVectors(own.values.double(), own.mask) for own in (model.queries(padded["queries"]), model.passages(padded["passages"])))
    scaled = None if teacher is None else teacher * 2
    expected = 0.7 * naive_list(q, p, 3, 0.5, scaled) + 1.3 * naive_in_batch(q, p, list(range(6)), 3, 0.5)
    expected.backward()
    assert values["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert found.keys() == {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    for name, parameter in module.named_parameters():
        if name in found:
            torch.testing.assert_close(found[name].double(), parameter.grad, rtol=1e-4, atol=1e-5, msg=name)
    assert int(values["tokens"]) == sum(len(own.ids) for own in batch.values())
    assert set(values) == {"loss", "tokens", "in_batch_loss", "distillation_loss" if distilled else "ranking_loss"}


def rank_of_own(context, name: str) -> float:
    """Mean reciprocal rank of each dev query's passage."""
    store, encoder = CorpusStore(context.paths.corpus), TokenEncoder(context.paths.model(name), Precision("fp32", "test"))
    scores = exhaustive(encoder.queries(list(store.queries("dev").values())), encoder.passages(*store.texts(range(len(store)))))
    own = scores[np.arange(len(scores)), np.arange(len(scores))]
    return float((1 / (scores >= own[:, None]).sum(1)).mean())


def test_training_on_hard_negatives_finds_the_passages(tmp_path, word_tokenizer):
    context = make_context(tmp_path, word_tokenizer, {"late": dict(BLOCK)})
    train(context, "late")
    assert rank_of_own(context, "late") > 0.5  # chance: about 0.09
    manifest = read_manifest(context.paths.model("late"))
    assert (manifest["kind"], manifest["lengths"]) == ("late_interaction", {"query": 10, "passage": 24})
    assert manifest["token_reading"] | {"projection": ""} == {
        "query_marker": "[unused0]", "passage_marker": "[unused1]", "augmentation": "unattended", "skip_punctuation": True, "title": "joined",
        "dimension": 16, "projection": "",
    }  # fmt: skip
    record = json.loads(context.paths.record("train.late").read_text())
    assert record["key"] == manifest["key"]
    assert record["notes"]["queries"]["trained"] == QUERIES - QUERIES // 10
    assert record["metrics"]["held_out/RR"] > 0.3
    history = [json.loads(line) for line in context.paths.history("late").read_text().splitlines()]
    assert {"ranking_loss", "in_batch_loss"} <= {name for line in history for name in line}
    assert "MultiVectorEncoder" in (context.paths.model("late") / "README.md").read_text()


def test_distillation_follows_the_teacher_and_goes_on_from_a_model(tmp_path, word_tokenizer):
    """A teacher that prefers passage 3 whatever the query; the second model starts from the first, projection and all."""
    distilled = {**BLOCK, "teacher": "reranker", "in_batch_weight": 0.0, "holdout": 0, "steps": 60}
    models = {"late": distilled, "later": {**distilled, "init": "late", "steps": 1, "learning_rate": 1e-9, "warmup_steps": 0, "title": None, "dimension": None}}
    context = make_context(tmp_path, word_tokenizer, {**models, "reranker": {"kind": "crossencoder", "negatives": "bm25", "steps": 1}})
    rows = np.arange(QUERIES)
    with pytest.raises(UserError, match=r"late\.parquet does not exist"):
        train(context, "late")
    for name in ("late", "later"):
        write_teacher_scores(context.paths.teacher_scores(name), [(f"q{i}", rows, np.where(rows == 3, 8.0, 0.0)) for i in range(QUERIES)], {})
        train(context, name)
        store, encoder = CorpusStore(context.paths.corpus), TokenEncoder(context.paths.model(name), Precision("fp32", "test"))
        scores = exhaustive(encoder.queries(list(store.queries("train").values())), encoder.passages(*store.texts(rows)))
        assert (scores[:, 3] >= np.quantile(scores, 0.9, axis=1)).mean() > 0.8
    first, second = (load_file(context.paths.model(name) / "1_Dense" / "model.safetensors")["linear.weight"] for name in ("late", "later"))
    torch.testing.assert_close(first, second, atol=1e-6, rtol=0)


def test_it_teaches_with_its_own_scores(tmp_path, word_tokenizer):
    """What `score-teacher` writes for a student are MaxSim scores of the passages that its training visits."""
    student = {"kind": "biencoder", "negatives": "bm25", "teacher": "late", "steps": 2, "batch_size": 8, "hard_negatives": 2, "holdout": 0}
    student |= {"query_length": 8, "passage_length": 24, "threads": 1}
    context = make_context(tmp_path, word_tokenizer, {"late": {**BLOCK, "steps": 2}, "student": student})
    train(context, "late")
    score_teacher(context, "student")
    groups = read_groups(context.paths.negatives("bm25"), CorpusStore(context.paths.corpus), 2, tmp_path)
    scores = TeacherScores.read(context.paths.teacher_scores("student"), "student", groups, tmp_path)
    store, encoder = CorpusStore(context.paths.corpus), TokenEncoder(context.paths.model("late"), Precision("fp32", "test"))
    expected = exhaustive(encoder.queries(list(store.queries("train").values())), encoder.passages(*store.texts(range(QUERIES))))
    seen = [query for query in range(QUERIES) if scores.ends[query] > scores.starts[query]]
    assert len(seen) == 16
    for query in seen:
        rows = scores.rows[scores.starts[query] : scores.ends[query]]
        assert query in rows
        np.testing.assert_allclose(scores.of(query, rows), expected[query][rows], atol=1e-4)
    train_dense(context, "student")


def test_bounded_memory_changes_nothing(tmp_path, word_tokenizer):
    block = {**BLOCK, "steps": 3, "log_steps": 1}
    context = make_context(tmp_path, word_tokenizer, {"whole": dict(block), "bounded": {**block, "micro_batch_size": 4}})
    curves = []
    for name in ("whole", "bounded"):
        train(context, name)
        lines = [json.loads(line) for line in context.paths.history(name).read_text().splitlines()]
        curves.append([(line["loss"], line["grad_norm"]) for line in lines if "loss" in line])
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-3)
    assert len(curves[0]) == 3


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path, word_tokenizer, monkeypatch):
    """Stopped after every step, dropout included."""
    block = {**BLOCK, "steps": 4, "log_steps": 1, "dropout": 0.1}
    whole, stopped = (
        make_context(tmp_path / name, word_tokenizer, {"late": {**block, "init": str(tmp_path / "whole" / "base")}}) for name in ("whole", "stopped")
    )
    train(whole, "late")
    with monkeypatch.context() as patch:
        patch.setenv("SIMLM_END_TIME", str(time.time() + 5))
        for _ in range(3):
            with pytest.raises(OutOfTime):
                train(stopped, "late")
    train(stopped, "late")
    for file in ("model.safetensors", "1_Dense/model.safetensors"):
        one, other = (load_file(context.paths.model("late") / file) for context in (whole, stopped))
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ({"negatives": None, "teacher": "bm25"}, "'negatives' and 'hard_negatives' must be given"),
        ({"negatives": None, "in_batch_weight": 0}, "nothing is left to train"),
        ({"query_marker": "[X]", "passage_marker": "[X]"}, "must differ"),
        ({"augmentation": "some"}, "augmentation"),
    ],
)
def test_settings_that_do_not_go_together(block, sentence):
    with pytest.raises(UserError, match=sentence):
        validate(
            {
                "name": "late",
                "corpus": {"source": "python_docs", "packages": ["numpy"]},
                "models": {"late": {**BLOCK, "init": "a/b", **block}},
                "evaluate": {"systems": ["late"], "splits": {"dev": {}}, "main_split": "dev"},
            }
        )
