"""Losses of the fine-tuning stages (paper, sections 3.2 and 3.3). They read scores, or ask a :class:`~simlm.scoring.base.Score` for them."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from simlm.scoring.base import Score
from simlm.scoring.dot import dot


def contrastive_loss(queries: Any, passages: Any, rows: torch.Tensor, temperature: float, terms: str = "paper", score: Score = dot) -> torch.Tensor:
    r"""Mean contrastive loss of a global batch.

    With :math:`\varphi(a, b) = \exp(s(a, b) / \tau)`, where :math:`s` is the score (:math:`a \cdot b` for a bi-encoder), the paper's Equation 3 is, per query,
    :math:`-\log \frac{\varphi(q, d^+)}{\varphi(q, d^+) + \sum_{n}(\varphi(q, n) + \varphi(d^+, n))}`, where :math:`n` runs over all
    other passages of the batch. A copy of the query's own :math:`d^+` (listed for another query) is no negative
    and is left out; positives of other queries are negatives, as in the paper.

    Parameters
    ----------
    queries
        Embedded queries, whatever ``score`` reads; for :data:`~simlm.scoring.dot.dot` unit vectors, shape (queries, width).
    passages
        Embedded passages, queries × group of them; the first of each group is the positive.
    rows
        Corpus rows of the passages, shape (queries × group,).
    temperature
        :math:`\tau`.
    terms
        ``paper``, ``queries`` for its :math:`q \cdot d` alone, or ``code`` for what the authors' code sums: :math:`q \cdot d` over all passages (copies of
        :math:`d^+` too), and :math:`d^+ \cdot q'`, :math:`q \cdot q'`, :math:`d^+ \cdot d'^+` over the other queries and their positives.
    score
        Gives all scores of two batches; called once per term.

    >>> unit = torch.eye(2)
    >>> round(contrastive_loss(unit, unit, torch.tensor([0, 1]), 1.0).item(), 4)  # log(1 + 2 / e)
    0.5514
    """
    group = len(passages) // len(queries)
    first = torch.arange(len(queries), device=rows.device) * group
    positives = passages[first]
    to_passages = score(queries, passages)
    if terms in ("paper", "queries"):
        own = torch.zeros_like(to_passages, dtype=torch.bool).scatter_(1, first[:, None], True)
        copies = rows[None, :] == rows[first][:, None]
        scores = [to_passages.masked_fill(copies & ~own, -torch.inf)]
        scores += [score(positives, passages).masked_fill(copies | own, -torch.inf)] if terms == "paper" else []
    else:
        diagonal = torch.eye(len(queries), dtype=torch.bool, device=rows.device)
        others = [score(positives, queries), score(queries, queries), score(positives, positives)]
        scores = [to_passages, *(part.masked_fill(diagonal, -torch.inf) for part in others)]
    return functional.cross_entropy(torch.cat(scores, dim=1) / temperature, first)


def distillation_loss(student: torch.Tensor, teacher: torch.Tensor, form: str = "kl", temperature: float = 1.0) -> torch.Tensor:
    """How far a student's scores of each query's group are from a teacher's.

    ``kl`` is KL(teacher ‖ student) over the group, mean over the queries. ``margin_mse`` (Hofstätter et al., arXiv 2010.02666, Equation 1) is the squared
    difference between the margins of the two, a margin being the first passage's score minus another's; mean over all pairs.

    Parameters
    ----------
    student
        Scores divided by the student's temperature, shape (queries, group).
    teacher
        Raw scores of the teacher, same shape.
    temperature
        The teacher's scores are divided by it; the loss is not multiplied by its square, as the student's scores have a temperature of their own.

    >>> distillation_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])).item()
    0.0
    >>> distillation_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[9.0, 3.0]]), "margin_mse", 3.0).item()  # margins -1 and 2
    9.0
    """
    teacher = teacher / temperature
    if form == "margin_mse":
        return functional.mse_loss(student[:, :1] - student[:, 1:], teacher[:, :1] - teacher[:, 1:])
    return functional.kl_div(student.log_softmax(-1), teacher.log_softmax(-1), reduction="batchmean", log_target=True)


def ranking_loss(logits: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the first passage of each group, shape (queries, group)."""
    return functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def rdrop_loss(first: torch.Tensor, second: torch.Tensor, weight: float = 1.0) -> torch.Tensor:
    """R-Drop (Liang et al., NeurIPS 2021) over two dropout passes.

    Mean of the two cross-entropies plus ``weight`` × 0.5 × (KL(p1 ‖ p2) + KL(p2 ‖ p1)), mean over the queries.

    Parameters
    ----------
    first, second
        Logits of the two passes, shape (queries, group); the positive comes first.

    >>> logits = torch.tensor([[2.0, 1.0]])
    >>> bool(rdrop_loss(logits, logits) == ranking_loss(logits))
    True
    """
    one, two = first.log_softmax(-1), second.log_softmax(-1)
    divergence = functional.kl_div(two, one, reduction="batchmean", log_target=True) + functional.kl_div(one, two, reduction="batchmean", log_target=True)
    return 0.5 * (ranking_loss(first) + ranking_loss(second)) + weight * 0.5 * divergence


def in_batch_loss(queries: Any, passages: Any, rows: torch.Tensor, temperature: float, score: Score) -> torch.Tensor:
    """Mean cross-entropy of each query's positive among itself and the passages of all other queries (ColBERTv2, arXiv 2112.01488).

    The query's own negatives are left to the loss over its list, and copies of its positive that are listed for others are left out.
    Parameters are those of :func:`contrastive_loss`.

    >>> unit = torch.eye(2)
    >>> round(in_batch_loss(unit, unit, torch.tensor([0, 1]), 1.0, dot).item(), 4)  # log(1 + 1 / e)
    0.3133
    """
    group = len(passages) // len(queries)
    first = torch.arange(len(queries), device=rows.device) * group
    owner = torch.arange(len(passages), device=rows.device) // group
    left_out = (owner[None, :] == torch.arange(len(queries), device=rows.device)[:, None]) | (rows[None, :] == rows[first][:, None])
    left_out = left_out.scatter(1, first[:, None], False)
    return functional.cross_entropy(score(queries, passages).masked_fill(left_out, -torch.inf) / temperature, first)
