"""Fine-tuning a cross-encoder: softmax over hard negatives, only the hardest with gradient, R-Drop (paper, section 3.3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from simlm.config.kinds import CrossEncoder
from simlm.context import Context
from simlm.lexical.hints import LexicalHints
from simlm.models.batches import MULTIPLE
from simlm.models.crossencoder import CrossEncoderModel, PairScorer, keep_hardest
from simlm.models.loading import fit_tokenizer, load_classifier, load_tokenizer
from simlm.models.pairs import PairJoiner
from simlm.models.text import Tokens, pad
from simlm.training.job import TrainingJob, start_job
from simlm.training.losses import ranking_loss, rdrop_loss
from simlm.training.passage_cache import PassageCache
from simlm.training.queries import TrainingQueries
from simlm.training.trainer import fit


class CrossEncoderTraining(nn.Module):
    """Loss of one step over this process's queries.

    Parameters
    ----------
    forward_factor
        See :func:`~simlm.models.crossencoder.keep_hardest`; 1 forwards everything with gradient.
    rdrop_weight
        Weight of R-Drop's divergence; 0: one dropout pass.
    """

    divisible = True
    """The loss of a step is a mean over its examples, which may be read in micro-batches of any size."""

    def __init__(self, model: CrossEncoderModel, forward_factor: int, rdrop_weight: float) -> None:
        super().__init__()
        self.model, self.forward_factor, self.rdrop_weight = model, forward_factor, rdrop_weight

    def forward(self, pairs: dict[str, torch.Tensor], group: int) -> dict[str, Any]:
        """One step over padded ``pairs``: groups of ``group`` passages, one query after the other, the positive first."""
        kept = self.select(pairs, group)
        places = (kept + torch.arange(len(kept), device=kept.device)[:, None] * group).reshape(-1)
        selected = {name: value[places] for name, value in pairs.items()}
        values = {"tokens": pairs["attention_mask"].sum()}
        first = self.model(selected).view(kept.shape)
        if not self.rdrop_weight:
            return {"loss": ranking_loss(first), **values}
        second = self.model(selected).view(kept.shape)
        loss, plain = rdrop_loss(first, second, self.rdrop_weight), 0.5 * (ranking_loss(first) + ranking_loss(second))
        return {"loss": loss, "ranking_loss": plain.detach(), "divergence": (loss - plain).detach(), **values}

    @torch.no_grad()
    def select(self, pairs: dict[str, torch.Tensor], group: int) -> torch.Tensor:
        """Positions of the passages that are forwarded with gradient, shape (queries, kept); scored without dropout."""
        ids = pairs["input_ids"]
        if self.forward_factor == 1 or group <= 2:
            return torch.arange(group, device=ids.device).expand(len(ids) // group, group)
        training = self.model.training
        self.model.eval()
        scores = self.model(pairs).view(-1, group)
        self.model.train(training)
        return keep_hardest(scores, self.forward_factor)


class PairCollator:
    """Batches of pairs; an item is (epoch, query number), from which all that is seen follows."""

    def __init__(
        self,
        trained: TrainingQueries,
        queries: Tokens,
        passages: PassageCache,
        joiner: PairJoiner,
        hints: LexicalHints | None = None,
    ) -> None:
        self.trained, self.queries, self.passages, self.joiner, self.hints = trained, queries, passages, joiner, hints

    def __call__(self, items: list[tuple[int, int]]) -> dict[str, Any]:
        rows = self.trained.visits(items)
        pairs = self.join(np.array([query for _, query in items]), rows)
        return {"pairs": pad(pairs, self.joiner.tokenizer, MULTIPLE), "group": rows.shape[1]}

    def join(self, queries: np.ndarray, rows: np.ndarray) -> Tokens:
        """Pairs of each query with its row of passages; ``rows`` has the shape (queries, group)."""
        repeated, flat = np.repeat(queries, rows.shape[1]), rows.reshape(-1)
        return self.joiner.join(self.queries.take(repeated), self.passages.take(flat), self.hints and self.hints(repeated, flat))


def train(context: Context, name: str) -> None:
    """Train the cross-encoder ``name`` and export it."""
    job = start_job(context, name)
    settings: CrossEncoder = job.settings
    with job.record:
        classifier, tokenizer = load_classifier(job.init), load_tokenizer(job.init)
        fit_tokenizer(tokenizer, classifier, job.init)
        job.check_lengths(classifier, "max_length")
        job.pack(classifier)
        trained = TrainingQueries.of(context, name, job.store)
        job.record.notes["queries"] = trained.counts
        groups = trained.groups
        joiner = PairJoiner(tokenizer, settings.max_length, settings.untitled)
        queries = joiner.queries(trained.texts)
        hints = LexicalHints.open(context, job.store, trained.texts) if settings.lexical_hints else None
        passages = PassageCache(job.store, [groups.positives, groups.negatives], joiner.passages, context.paths.root / "training")
        collate = PairCollator(trained, queries, passages, joiner, hints)
        model = CrossEncoderModel(classifier)
        module = CrossEncoderTraining(model, settings.forward_factor, settings.rdrop_weight)
        evaluate = _evaluation(job, model, collate) if len(trained.held_out) else None
        fit(job, module, len(trained.seen), trained.item, collate, evaluate=evaluate, evaluate_every=trained.epoch_steps)
        lengths, extra = {"pair": settings.max_length}, {"lexical_hints": settings.lexical_hints, "untitled": settings.untitled}
        job.export(classifier, tokenizer, lengths=lengths, extra=extra, card={})


def _evaluation(job: TrainingJob, model: CrossEncoderModel, collate: PairCollator) -> Any:
    """Reciprocal rank of the held-out queries' positives among some of their own negatives."""
    held_out, rows = collate.trained.held_out, collate.trained.pool()

    def evaluate() -> dict[str, float]:
        scores = PairScorer(model, collate.joiner, job.precision).score_tokens(collate.join(held_out, rows)).reshape(rows.shape)
        return {"held_out/RR": float(np.mean(1 / (scores >= scores[:, :1]).sum(1)))}

    return evaluate
