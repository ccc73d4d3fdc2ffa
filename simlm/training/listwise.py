"""The loss of two models that score the same lists: a divergence between them, and the labels for the re-ranker (RocketQAv2, section 3.2)."""

from __future__ import annotations

import torch
from torch.nn import functional


def listwise_divergence(
    retriever: torch.Tensor, reranker: torch.Tensor, direction: str = "paper", reduction: str = "list", gradient: str = "both"
) -> torch.Tensor:
    r"""KL divergence between two models' distributions over each query's list, mean over the queries.

    With :math:`p` and :math:`r` the softmax of the retriever's and the re-ranker's scores over a list, the paper's Equation 4 is
    :math:`\sum_i p_i \log \frac{p_i}{r_i}`; the authors' code computes :math:`\frac{1}{m} \sum_i r_i \log \frac{r_i}{p_i}` for
    lists of :math:`m` passages, whose gradient reaches the retriever alone.

    Parameters
    ----------
    retriever, reranker
        Scores, the retriever's divided by its temperature; shape (queries, list).
    direction
        ``paper``: KL(retriever ‖ re-ranker); ``code``: KL(re-ranker ‖ retriever).
    reduction
        ``list``: the sum over a list; ``passage``: that sum divided by the length of the list.
    gradient
        ``both``, or ``retriever``: the re-ranker is a constant.

    >>> one, two = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 1.0986]])  # 1/2 and 1/2; 1/4 and 3/4
    >>> [round(listwise_divergence(one, two, direction).item(), 4) for direction in ("paper", "code")]
    [0.1438, 0.1308]
    >>> round(listwise_divergence(one, two, reduction="passage").item(), 4)
    0.0719
    """
    if gradient == "retriever":
        reranker = reranker.detach()
    own, other = retriever.log_softmax(-1), reranker.log_softmax(-1)
    # kl_div(q, p) is KL(p ‖ q).
    first, second = (other, own) if direction == "paper" else (own, other)
    divergence = functional.kl_div(first, second, reduction="batchmean", log_target=True)
    return divergence if reduction == "list" else divergence / retriever.shape[-1]
