"""Each loss against a float64 formula written out loop by loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from simlm.training.losses import contrastive_loss, distillation_loss, ranking_loss, rdrop_loss

TAU = 0.02


def unit(shape, seed) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=shape)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def softmax(values) -> np.ndarray:
    weights = np.exp(np.asarray(values) - np.max(values))
    return weights / weights.sum()


def kl(p, q) -> float:
    return float(sum(a * math.log(a / b) for a, b in zip(p, q)))


def naive_paper(queries, passages, rows, group) -> float:
    """Equation 3: the positive's term, and phi(q, n) + phi(d+, n) for every other passage that is not d+."""
    total = 0.0
    for i, query in enumerate(queries):
        own = i * group
        scores = [query @ passages[own]]
        for j, passage in enumerate(passages):
            if rows[j] != rows[own]:
                scores += [query @ passage, passages[own] @ passage]
        total -= math.log(softmax(np.array(scores) / TAU)[0])
    return total / len(queries)


def naive_code(queries, passages, group) -> float:
    positives, total = passages[::group], 0.0
    for i, query in enumerate(queries):
        scores = [query @ positives[i]]
        scores += [query @ passage for j, passage in enumerate(passages) if j != i * group]
        for j in range(len(queries)):
            if j != i:
                scores += [query @ queries[j], positives[i] @ queries[j], positives[i] @ positives[j]]
        total -= math.log(softmax(np.array(scores) / TAU)[0])
    return total / len(queries)


@pytest.mark.parametrize("rows", [list(range(9)), [0, 7, 8, 1, 0, 9, 2, 3, 1]])
def test_contrastive_queries_alone(rows):
    """Inner products of the queries with all passages of the batch, temperature 1: what DPR, coCondenser and RetroMAE are trained with."""
    draw = np.random.default_rng(4)
    values = [torch.tensor(draw.normal(size=(count, 6)), requires_grad=True) for count in (3, 9)]
    loss = contrastive_loss(*values, torch.tensor(rows), 1.0, "queries")
    loss.backward()
    queries, passages = (value.detach().numpy() for value in values)
    total, gradient = 0.0, np.zeros_like(queries)
    for i, query in enumerate(queries):
        shown = [3 * i, *(j for j in range(9) if rows[j] != rows[3 * i])]
        weights = softmax([query @ passages[j] for j in shown])
        total -= math.log(weights[0]) / 3
        gradient[i] = (sum(weight * passages[j] for weight, j in zip(weights, shown)) - passages[3 * i]) / 3
    assert loss.item() == pytest.approx(total, rel=1e-12)
    np.testing.assert_allclose(values[0].grad.numpy(), gradient, atol=1e-12)


@pytest.mark.parametrize(("group", "rows"), [(3, None), (1, None), (3, [0, 7, 8, 1, 0, 9, 2, 3, 1])])
def test_contrastive_paper(group, rows):
    queries, passages = unit((3, 6), 1), unit((3 * group, 6), 2)
    rows = list(range(len(passages))) if rows is None else rows
    ours = contrastive_loss(torch.tensor(queries), torch.tensor(passages), torch.tensor(rows), TAU)
    assert ours.item() == pytest.approx(naive_paper(queries, passages, rows, group), rel=1e-12)


@pytest.mark.parametrize("group", [1, 4])
def test_contrastive_code(group):
    queries, passages = unit((5, 6), 3), unit((5 * group, 6), 4)
    ours = contrastive_loss(torch.tensor(queries), torch.tensor(passages), torch.arange(5 * group), TAU, "code")
    assert ours.item() == pytest.approx(naive_code(queries, passages, group), rel=1e-12)


def test_a_copy_of_the_own_positive_changes_nothing_but_another_querys_positive_does():
    queries, passages = torch.tensor(unit((2, 6), 5)), torch.tensor(unit((4, 6), 6))
    rows = torch.tensor([0, 1, 2, 3])
    plain = contrastive_loss(queries[:1], passages[:2], rows[:2], TAU)
    copied = torch.cat([passages[:2], passages[:1]])
    # One query, whose positive is also listed as a third passage.
    logits = contrastive_loss(queries[:1], copied, torch.tensor([0, 1, 0]), TAU)
    torch.testing.assert_close(logits, plain)
    assert not torch.isclose(contrastive_loss(queries, passages, rows, TAU), contrastive_loss(queries, passages, torch.tensor([0, 1, 0, 3]), TAU))


def test_distillation():
    student, teacher = np.random.default_rng(7).normal(size=(4, 5)) / TAU, np.random.default_rng(8).normal(size=(4, 5)) * 3
    expected = np.mean([kl(softmax(t), softmax(s)) for s, t in zip(student, teacher)])
    assert distillation_loss(torch.tensor(student), torch.tensor(teacher)).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_a_teacher_with_a_temperature(temperature):
    """KL against the softmax of the teacher's scores over their temperature; 1 changes no bit."""
    student, teacher = np.random.default_rng(7).normal(size=(4, 5)) / TAU, np.random.default_rng(8).normal(size=(4, 5)) * 3
    expected = np.mean([kl(softmax(t / temperature), softmax(s)) for s, t in zip(student, teacher)])
    ours = distillation_loss(torch.tensor(student), torch.tensor(teacher), temperature=temperature)
    assert ours.item() == pytest.approx(expected, rel=1e-12)
    as_they_are = torch.tensor(student, dtype=torch.float32), torch.tensor(teacher, dtype=torch.float32)
    plain = torch.nn.functional.kl_div(*(scores.log_softmax(-1) for scores in as_they_are), reduction="batchmean", log_target=True)
    assert torch.equal(distillation_loss(*as_they_are), plain)


def test_margin_mse_is_the_formula_and_that_of_sentence_transformers():
    from sentence_transformers.sentence_transformer.losses import MarginMSELoss

    draw = np.random.default_rng(9)
    query, passages, teacher = draw.normal(size=(4, 6)), draw.normal(size=(4, 3, 6)), draw.normal(size=(4, 3)) * 5
    student = torch.tensor(np.einsum("qd,qpd->qp", query, passages), requires_grad=True)
    ours = distillation_loss(student, torch.tensor(teacher), "margin_mse", 2.0)
    margins = [((s[0] - s[n]) - (t[0] - t[n]) / 2.0) ** 2 for s, t in zip(student.tolist(), teacher.tolist()) for n in (1, 2)]
    assert ours.item() == pytest.approx(np.mean(margins), rel=1e-12)
    theirs = MarginMSELoss(torch.nn.Identity()).compute_loss_from_embeddings(
        [torch.tensor(query), *torch.tensor(passages).unbind(1)], torch.tensor((teacher[:, :1] - teacher[:, 1:]) / 2.0)
    )
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    ours.backward()
    # Only differences within a list count.
    np.testing.assert_allclose(student.grad.sum(1).numpy(), 0, atol=1e-12)


def test_the_distillation_gradient_pulls_towards_the_teacher():
    student = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    distillation_loss(student, torch.tensor([[2.0, 0.0, 0.0]], dtype=torch.float64)).backward()
    np.testing.assert_allclose(student.grad[0].numpy(), np.full(3, 1 / 3) - softmax([2.0, 0.0, 0.0]), rtol=1e-12)


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_rdrop(weight):
    first, second = np.random.default_rng(9).normal(size=(2, 3, 6)) * 2
    expected = 0.0
    for one, two in zip(first, second):
        p, q = softmax(one), softmax(two)
        expected += 0.5 * (-math.log(p[0]) - math.log(q[0])) + weight * 0.5 * (kl(p, q) + kl(q, p))
    assert rdrop_loss(torch.tensor(first), torch.tensor(second), weight).item() == pytest.approx(expected / 3, rel=1e-12)


def test_ranking_loss_is_the_positives_surprise():
    logits = np.random.default_rng(10).normal(size=(4, 3))
    expected = np.mean([-math.log(softmax(row)[0]) for row in logits])
    assert ranking_loss(torch.tensor(logits)).item() == pytest.approx(expected, rel=1e-12)
