"""Listwise distillation against float64 formulas written out loop by loop, and denoised lists against lists made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from simlm.config.kinds.joint import Denoising
from simlm.errors import UserError
from simlm.training.denoising import certainty, denoised
from simlm.training.groups import Groups, query_key
from simlm.training.joint import JointTraining, Lists
from simlm.training.listwise import listwise_divergence
from simlm.training.teacher_scores import TeacherScores

QUERIES, LISTED, WIDTH, TAU = 4, 5, 6, 0.7


def softmax(values: np.ndarray) -> np.ndarray:
    weights = np.exp(values - values.max())
    return weights / weights.sum()


def formula(retriever: np.ndarray, reranker: np.ndarray, direction: str, reduction: str) -> float:
    """Mean over the lists of the divergence, summed passage by passage."""
    total = 0.0
    for scores, logits in zip(retriever, reranker):
        p, r = softmax(scores), softmax(logits)
        one, other = (p, r) if direction == "paper" else (r, p)
        total += sum(a * math.log(a / b) for a, b in zip(one, other)) / (len(scores) if reduction == "passage" else 1)
    return total / len(retriever)


def slope(of, values: np.ndarray) -> np.ndarray:
    """Gradient by central differences in float64."""
    found = np.zeros_like(values)
    for place in np.ndindex(values.shape):
        ends = []
        for step in (1e-6, -1e-6):
            moved = values.copy()
            moved[place] += step
            ends.append(of(moved))
        found[place] = (ends[0] - ends[1]) / 2e-6
    return found


@pytest.fixture
def scores() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(3)
    return draw.normal(size=(QUERIES, LISTED)) * 2, draw.normal(size=(QUERIES, LISTED)) * 3


@pytest.mark.parametrize("gradient", ["both", "retriever"])
@pytest.mark.parametrize("reduction", ["list", "passage"])
@pytest.mark.parametrize("direction", ["paper", "code"])
def test_the_divergence_and_its_gradients_are_the_formulas(scores, direction, reduction, gradient):
    retriever, reranker = (torch.tensor(values, requires_grad=True) for values in scores)
    found = listwise_divergence(retriever, reranker, direction, reduction, gradient)
    assert found.item() == pytest.approx(formula(*scores, direction, reduction), rel=1e-10)
    found.backward()
    np.testing.assert_allclose(retriever.grad.numpy(), slope(lambda values: formula(values, scores[1], direction, reduction), scores[0]), atol=1e-8)
    if gradient == "retriever":
        assert reranker.grad is None
    else:
        np.testing.assert_allclose(reranker.grad.numpy(), slope(lambda values: formula(scores[0], values, direction, reduction), scores[1]), atol=1e-8)


class Given(torch.nn.Module):
    """A model whose outputs are its weights, whatever it reads."""

    def __init__(self, values: np.ndarray) -> None:
        super().__init__()
        self.values = torch.nn.Parameter(torch.tensor(values, dtype=torch.float32))

    def forward(self, batch: dict) -> torch.Tensor:
        return self.values[batch["rows"]]


@pytest.mark.parametrize(("direction", "reduction", "gradient"), [("paper", "list", "both"), ("code", "passage", "retriever")])
def test_the_loss_of_a_step_and_all_its_gradients(direction, reduction, gradient):
    """Vectors to inner products over the temperature, to distributions; labels teach the re-ranker alone; to 1e-5 in fp32."""
    draw = np.random.default_rng(4)
    vectors, logits = draw.normal(size=(QUERIES * (1 + LISTED), WIDTH)), draw.normal(size=QUERIES * LISTED)

    def loss(vectors: np.ndarray, logits: np.ndarray, frozen: np.ndarray | None = None) -> float:
        products = np.array([[vectors[q] @ vectors[QUERIES + q * LISTED + i] / TAU for i in range(LISTED)] for q in range(QUERIES)])
        lists = logits.reshape(QUERIES, LISTED)
        taught = lists if frozen is None else frozen.reshape(QUERIES, LISTED)
        return formula(products, taught, direction, reduction) - np.mean([math.log(softmax(row)[0]) for row in lists])

    retriever, reranker = Given(vectors), Given(logits)
    batch = [{"rows": torch.arange(*ends), "attention_mask": torch.ones(2, 3)} for ends in ((0, QUERIES), (QUERIES, len(vectors)), (0, len(logits)))]
    found = JointTraining(retriever, reranker, TAU, direction, reduction, gradient)(*batch)
    assert found["loss"].item() == pytest.approx(loss(vectors, logits), rel=1e-5)
    assert found["tokens"] == 18
    assert (found["ranking_loss"] + found["divergence"]).item() == pytest.approx(found["loss"].item(), rel=1e-6)
    found["loss"].backward()
    np.testing.assert_allclose(retriever.values.grad.numpy(), slope(lambda values: loss(values, logits), vectors), atol=1e-5)
    frozen = logits if gradient == "retriever" else None
    np.testing.assert_allclose(reranker.values.grad.numpy(), slope(lambda values: loss(vectors, values, frozen), logits), atol=1e-5)


# ------------------------------------------------------------------------------------------------ denoised lists

LABELLED = {"a": [0], "b": [1, 2], "c": [3]}
LISTED_ROWS = {"a": [10, 11, 12, 13], "b": [20, 21, 22], "c": [30, 31]}
LOGITS = {
    # Labelled 1; margins of the listed: -3 and -5 (sure negatives), +4 (a sure positive), -0.5 (unsure).
    "a": {0: 1.0, 10: -2.0, 11: -4.0, 12: 5.0, 13: 0.5},
    # The best labelled one, 6, counts: margins -2 (unsure), -6, -7.
    "b": {1: 6.0, 2: -1.0, 20: 4.0, 21: 0.0, 22: -1.0},
    # Margins -1 and -4: one negative is left.
    "c": {3: 2.0, 30: 1.0, 31: -2.0},
}


@pytest.fixture
def world(tmp_path):
    """Three queries, their lists, and a teacher's logits."""
    ids = list(LABELLED)
    flat, offsets = {}, {}
    for what, of in (("positives", LABELLED), ("negatives", LISTED_ROWS)):
        flat[what] = np.concatenate([of[name] for name in ids]).astype(np.int32)
        offsets[what] = np.concatenate([[0], np.cumsum([len(of[name]) for name in ids])])
    keys = np.array([query_key(name) for name in ids], np.uint64)
    groups = Groups(ids, keys, flat["positives"], offsets["positives"], flat["negatives"], offsets["negatives"])
    ends = np.cumsum([len(LOGITS[name]) for name in ids])
    rows = np.concatenate([sorted(LOGITS[name]) for name in ids])
    logits = np.concatenate([[LOGITS[name][row] for row in sorted(LOGITS[name])] for name in ids])
    return groups, TeacherScores(groups, rows, logits, np.concatenate([[0], ends[:-1]]), ends, tmp_path / "scores.parquet", "joint"), tmp_path


def lists_of(groups: Groups) -> list[tuple[list[int], list[int]]]:
    return [(groups.positives_of(query).tolist(), groups.negatives_of(query).tolist()) for query in range(len(groups))]


def test_lists_denoised_by_margin_are_those_made_by_hand(world):
    groups, teacher, folder = world
    # sigmoid(2.2) = 0.90: the thresholds are a distance of about 2.2 logits from the best labelled passage.
    found, counts = denoised(groups, teacher, Denoising(), 2, folder)
    assert lists_of(found) == [([0, 12], [10, 11]), ([1, 2], [21, 22]), ([3], [])]
    assert (counts.listed, counts.kept, counts.positives, counts.without_list) == (9, 5, 1, 1)
    assert found.query_ids == groups.query_ids


def test_lists_denoised_by_the_logit_are_others(world):
    groups, teacher, folder = world
    # sigmoid(logit) below 0.3: under -0.85; above 0.95: over 2.94, whatever the labelled passages have.
    found, _ = denoised(groups, teacher, Denoising(scale="logit", positive=0.95, negative=0.3), 1, folder)
    assert lists_of(found) == [([0, 12], [10, 11]), ([1, 2, 20], [22]), ([3], [31])]


def test_certainty_is_a_sigmoid_without_overflow():
    with np.errstate(over="raise", invalid="raise"):
        assert certainty(np.array([-1e4, 0.0, 1e4]), np.array([0.0]), "logit").tolist() == [0.0, 0.5, 1.0]


def test_a_listed_passage_that_was_not_scored_is_refused(world):
    groups, teacher, folder = world
    fewer = TeacherScores(groups, teacher.rows, teacher.scores, teacher.starts, teacher.ends - np.array([1, 0, 0]), teacher.source, "joint")
    with pytest.raises(UserError, match="no score of passage 13 for query 'a'"):
        denoised(groups, fewer, Denoising(), 1, folder)


def test_of_a_teacher_from_a_file_passages_without_a_score_are_left_out(world):
    groups, teacher, folder = world
    there = ~np.isin(teacher.rows, [1, 3, 11])
    ends = np.cumsum([sum(there[start:end]) for start, end in zip(teacher.starts, teacher.ends)])
    fewer = TeacherScores(groups, teacher.rows[there], teacher.scores[there], np.concatenate([[0], ends[:-1]]), ends, teacher.source, "joint")
    found, counts = denoised(groups, fewer, Denoising(), 1, folder, whole=False)
    # Of 'b' the second labelled one, -1, is left to compare with: margins +5 and +1, and 0, of none of which it is sure but the first; of 'c' none.
    assert lists_of(found) == [([0, 12], [10]), ([1, 2, 20], []), ([3], [])]
    assert counts.without_list == 2


def test_thresholds_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match=r"denoise.negative \(0.9\) must be below denoise.positive \(0.1\)"):
        Denoising(positive=0.1, negative=0.9)


def test_a_query_is_seen_with_both_lists_in_turn(world):
    groups, teacher, folder = world
    clean, _ = denoised(groups, teacher, Denoising(), 2, folder)
    lists = Lists(groups, clean)
    for query in range(3):
        seen = [lists.visit(5, epoch, query, 2, "shuffled").tolist() for epoch in range(8)]
        own = [groups.visit(5, turn, query, 2, "shuffled").tolist() for turn in range(8)]
        if not lists.has_clean(query):  # the third, which keeps one negative
            assert (query, seen) == (2, own)
            continue
        other = [clean.visit(5, turn, query, 2, "shuffled").tolist() for turn in range(4)]
        first = int(query_key(groups.query_ids[query])) % 2
        assert seen[1 - first :: 2] == other
        assert seen[first::2] == own[:4]
    assert Lists(groups, clean, only_clean=True).visit(5, 3, 0, 2, "shuffled").tolist() == clean.visit(5, 3, 0, 2, "shuffled").tolist()
