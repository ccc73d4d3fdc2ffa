"""Scores against loops in float64, against sentence-transformers, and in the losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sentence_transformers import util

from simlm.scoring import maxsim as maxsim_module
from simlm.scoring.dot import dot
from simlm.scoring.maxsim import TokenVectors, maxsim
from simlm.training.losses import contrastive_loss


def tokens(texts: int, longest: int, seed: int, dtype=torch.float64) -> TokenVectors:
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(texts, longest, 5))
    values /= np.linalg.norm(values, axis=-1, keepdims=True)
    mask = np.arange(longest) < draw.integers(1, longest + 1, (texts, 1))
    mask[0] = draw.permutation(mask[0])  # what does not count need not be at the end
    return TokenVectors(torch.tensor(values, dtype=dtype), torch.tensor(mask))


def naive(query: TokenVectors, passage: TokenVectors) -> float:
    """One query and one passage, written out token by token."""
    total = 0.0
    for q, counts in zip(query.values[0].tolist(), query.mask[0].tolist()):
        if counts:
            total += max(sum(a * b for a, b in zip(q, p)) for p, there in zip(passage.values[0].tolist(), passage.mask[0].tolist()) if there)
    return total


@pytest.mark.parametrize("numbers", [1, 2**26], ids=["one query at a time", "all at once"])
def test_maxsim(monkeypatch, numbers):
    monkeypatch.setattr(maxsim_module, "NUMBERS", numbers)
    queries, passages = tokens(3, 4, 1), tokens(6, 7, 2)
    expected = torch.tensor([[naive(queries[i : i + 1], passages[j : j + 1]) for j in range(6)] for i in range(3)], dtype=torch.float64)
    torch.testing.assert_close(maxsim(queries, passages), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(maxsim.own(queries, passages), torch.stack([expected[i, 2 * i : 2 * i + 2] for i in range(3)]), rtol=1e-12, atol=0)


def test_maxsim_is_that_of_sentence_transformers():
    queries, passages = tokens(3, 4, 3, torch.float32), tokens(5, 7, 4, torch.float32)
    theirs = util.maxsim([values[mask] for values, mask in zip(queries.values, queries.mask)], [values[m] for values, m in zip(passages.values, passages.mask)])
    torch.testing.assert_close(maxsim(queries, passages), torch.as_tensor(theirs))


def test_what_does_not_count_has_no_gradient():
    queries, passages = tokens(2, 3, 5), tokens(4, 6, 6)
    values = passages.values.clone().requires_grad_()
    maxsim(queries, TokenVectors(values, passages.mask)).sum().backward()
    assert not values.grad[~passages.mask].any()
    assert values.grad[passages.mask].any()


def test_a_passage_without_a_token_is_below_all_others():
    queries, passages = tokens(2, 3, 7), tokens(2, 3, 8)
    passages.mask[1] = False
    scores = maxsim(queries, passages)
    assert torch.isneginf(scores[:, 1]).all()
    assert scores[:, 0].isfinite().all()
    assert torch.isneginf(maxsim.own(queries[:1], passages)[0, 1])


def test_one_token_each_is_the_inner_product():
    queries, passages = tokens(3, 1, 9), tokens(6, 1, 10)
    flat = queries.values[:, 0], passages.values[:, 0]
    torch.testing.assert_close(maxsim(queries, passages), dot(*flat))
    torch.testing.assert_close(maxsim.own(queries, passages), dot.own(*flat))


@pytest.mark.parametrize("terms", ["paper", "code"])
def test_the_contrastive_loss_of_token_vectors(terms):
    """Every term is a score of the function that is given: Equation 3 and the authors' four terms, with MaxSim in them."""
    queries, passages, tau = tokens(3, 4, 11), tokens(6, 7, 12), 0.5
    positives, total = passages[::2], 0.0
    for i in range(3):
        q, own = queries[i : i + 1], positives[i : i + 1]
        scores = [naive(q, own)] + [naive(q, passages[j : j + 1]) for j in range(6) if j != 2 * i]
        if terms == "paper":
            scores += [naive(own, passages[j : j + 1]) for j in range(6) if j != 2 * i]
        else:
            for j in (j for j in range(3) if j != i):
                scores += [naive(own, queries[j : j + 1]), naive(q, queries[j : j + 1]), naive(own, positives[j : j + 1])]
        total += math.log(sum(math.exp(score / tau) for score in scores)) - scores[0] / tau
    assert contrastive_loss(queries, passages, torch.arange(6), tau, terms, maxsim).item() == pytest.approx(total / 3, rel=1e-12)
