"""What a score function is; losses, held-out evaluations and exact search take one instead of multiplying matrices themselves."""

from __future__ import annotations

from typing import Any, Protocol

import torch


class Score(Protocol):
    """Scores of embedded queries and embedded passages.

    What an embedding is, the function and the model that it goes with decide between them: a tensor (texts, dimension) for
    :data:`~simlm.scoring.dot.dot`, :class:`~simlm.scoring.maxsim.TokenVectors` for :data:`~simlm.scoring.maxsim.maxsim`. All that
    others ask of it is a length and texts by an index. The first argument is read as the query, whatever it is: a loss also
    compares passages with passages.
    """

    def __call__(self, queries: Any, passages: Any) -> torch.Tensor:
        """Every query with every passage; shape (queries, passages)."""
        ...

    def own(self, queries: Any, passages: Any) -> torch.Tensor:
        """Every query with its own passages, which lie one query after the other; shape (queries, passages / queries)."""
        ...
