"""A small retrieval task solved with the current [CLS] during pre-training: the losses do not tell when to stop."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from simlm.config.kinds.bottleneck import Probe
from simlm.corpus.store import CorpusStore
from simlm.errors import UserError
from simlm.models.embedding import embed_tokens
from simlm.models.text import Tokens, tokenize_passages, tokenize_queries


class RetrievalProbe:
    """Nearest neighbours of held-out queries among their relevant passages and random others.

    Parameters
    ----------
    store
        The corpus; the queries of ``settings.split`` must not be training queries.
    query_length, passage_length
        Longest inputs in tokens.
    seed
        Chooses queries and passages.
    """

    def __init__(self, store: CorpusStore, tokenizer, settings: Probe, query_length: int, passage_length: int, seed: int) -> None:
        draw = np.random.default_rng([seed, 1])
        texts, positives = store.queries(settings.split), store.positives(settings.split)
        judged = sorted(query for query in texts if positives.get(query))
        if not judged:
            raise UserError(f"the probe's split '{settings.split}' has no judged query; choose another or set probe: null")
        chosen = [judged[i] for i in sorted(draw.permutation(len(judged))[: settings.queries])]
        relevant = sorted({row for query in chosen for row in positives[query]})
        # As many random passages as fill up the wanted number; a few may be relevant ones again.
        others = draw.choice(len(store), size=min(len(store), settings.passages), replace=False).tolist()
        rows = (relevant + [row for row in others if row not in set(relevant)])[: max(settings.passages, len(relevant))]
        place = {row: i for i, row in enumerate(rows)}
        self.tokenizer = tokenizer
        self.queries = tokenize_queries(tokenizer, [texts[query] for query in chosen], query_length)
        self.passages = tokenize_passages(tokenizer, *store.texts(rows), passage_length)
        self.relevant = [[place[row] for row in positives[query]] for query in chosen]

    def __call__(self, body: nn.Module) -> dict[str, float]:
        """Mean reciprocal rank at 10 and recall at 50 of the probe with the encoder ``body``."""
        # Outside of torch: autocast would round the scores to bf16, and with them the ranks.
        queries, passages = (embed(body, texts, self.tokenizer) for texts in (self.queries, self.passages))
        scores = queries @ passages.T
        ranks = np.array([best_rank(row, relevant) for row, relevant in zip(scores, self.relevant)])
        found = [np.mean([rank_of(row, one) <= 50 for one in relevant]) for row, relevant in zip(scores, self.relevant)]
        return {"probe/RR@10": float(np.where(ranks <= 10, 1 / ranks, 0).mean()), "probe/R@50": float(np.mean(found))}


def rank_of(scores: np.ndarray, place: int) -> int:
    """Rank of a passage, counting from 1; those with an equal score stand before it, so that collapsed vectors score 0.

    >>> rank_of(np.array([0.5, 0.9, 0.1]), 0), rank_of(np.array([0.5, 0.5]), 0)
    (2, 2)
    """
    return int((scores >= scores[place]).sum())


def best_rank(scores: np.ndarray, relevant: list[int]) -> int:
    """Rank of the best of several relevant passages."""
    return min(rank_of(scores, one) for one in relevant)


def embed(body: nn.Module, tokens: Tokens, tokenizer) -> np.ndarray:
    """L2-normalised last-layer [CLS] states in fp32, shape (texts, width)."""

    def first_states(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return nn.functional.normalize(body(**batch).last_hidden_state[:, 0].float(), dim=-1)

    return embed_tokens(first_states, tokens, tokenizer, device=next(body.parameters()).device, batch_size=256)
