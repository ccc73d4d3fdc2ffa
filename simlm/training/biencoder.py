"""Fine-tuning a bi-encoder: contrastive loss over hard and in-batch negatives, and distillation from a cross-encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from simlm import processes
from simlm.config.kinds import BiEncoder
from simlm.context import Context
from simlm.models.batches import MULTIPLE
from simlm.models.biencoder import BiEncoderModel
from simlm.models.embedding import embed_tokens
from simlm.models.retriever import Retriever, open_retriever
from simlm.models.text import Tokens, pad
from simlm.scoring.base import Score
from simlm.scoring.dot import dot
from simlm.text.token_cache import PassageTokens
from simlm.training.distributed import gather, scale_gradient
from simlm.training.hidden import HiddenQueries
from simlm.training.job import TrainingJob, start_job
from simlm.training.losses import contrastive_loss, distillation_loss
from simlm.training.queries import TrainingQueries, hard_negatives
from simlm.training.taught import taught_queries
from simlm.training.teacher_scores import TeacherScores
from simlm.training.trainer import fit


class BiEncoderTraining(nn.Module):
    """Losses of one step over the global batch.

    Parameters
    ----------
    model
        Embeds queries and passages.
    temperature, contrastive_weight, terms
        See :func:`~simlm.training.losses.contrastive_loss` and the configuration of ``biencoder``.
    distillation
        Form and teacher's temperature of :func:`~simlm.training.losses.distillation_loss`.
    score
        Compares what ``model`` makes of queries and passages.
    """

    def __init__(
        self,
        model: nn.Module,
        temperature: float,
        contrastive_weight: float = 1.0,
        terms: str = "paper",
        score: Score = dot,
        distillation: tuple[str, float] = ("kl", 1.0),
    ) -> None:
        super().__init__()
        self.model, self.temperature, self.contrastive_weight, self.terms, self.score = model, temperature, contrastive_weight, terms, score
        self.distillation = distillation

    def forward(
        self, queries: dict[str, torch.Tensor], passages: dict[str, torch.Tensor], rows: torch.Tensor, teacher: torch.Tensor | None = None
    ) -> dict[str, Any]:
        """One step.

        Parameters
        ----------
        queries
            This process's queries, padded.
        passages
            Their groups, padded, one query after the other, the positive first.
        rows
            Corpus rows of the passages, shape (queries × group,).
        teacher
            Raw teacher logits, shape (queries, group); None: no distillation.
        """
        tokens = queries["attention_mask"].sum() + passages["attention_mask"].sum()
        query, passage = gather(self.model(queries)), gather(self.model(passages))
        values: dict[str, Any] = {"tokens": tokens}
        with torch.autocast(query.device.type, enabled=False):
            loss = query.new_zeros(())
            if self.contrastive_weight:
                contrastive = contrastive_loss(query, passage, gather(rows), self.temperature, self.terms, self.score)
                values["contrastive_loss"] = contrastive.detach()
                loss = loss + self.contrastive_weight * contrastive
            if teacher is not None:
                distillation = distillation_loss(self.score.own(query, passage) / self.temperature, gather(teacher), *self.distillation)
                values["distillation_loss"] = distillation.detach()
                loss = loss + distillation
        return {"loss": scale_gradient(loss), **values}


class GroupCollator:
    """Batches of groups; an item is (epoch, query number), from which all that is seen follows.

    Parameters
    ----------
    queries
        Tokens of the queries, by number.
    passages
        Tokens of the corpus, by row.
    teacher
        Scores to distil, or None.
    hidden
        Positives that are read without their query, or None.
    """

    def __init__(
        self,
        trained: TrainingQueries,
        queries: Tokens,
        passages: PassageTokens,
        tokenizer: Any,
        teacher: TeacherScores | None = None,
        hidden: HiddenQueries | None = None,
    ) -> None:
        self.trained, self.queries, self.passages, self.tokenizer, self.teacher, self.hidden = trained, queries, passages, tokenizer, teacher, hidden

    def __call__(self, items: list[tuple[int, int]]) -> dict[str, Any]:
        rows = self.trained.visits(items)
        passages = self.passages.take(rows.reshape(-1))
        if self.hidden is not None:
            passages = self.hidden.put(passages, items, rows[:, 0])
        batch = {
            "queries": pad(self.queries.take([query for _, query in items]), self.tokenizer, MULTIPLE),
            "passages": pad(passages, self.tokenizer, MULTIPLE),
            "rows": torch.from_numpy(rows.reshape(-1)),
        }
        if self.teacher is not None:
            batch["teacher"] = torch.from_numpy(np.stack([self.teacher.of(query, own) for (_, query), own in zip(items, rows)]))
        return batch


def train(context: Context, name: str) -> None:
    """Train the bi-encoder ``name`` and export it."""
    train_retriever(context, name, open_retriever)


def train_retriever(context: Context, name: str, opened: Callable[[str, BiEncoder, str, float | None], Retriever]) -> None:
    """Train and export a retriever with one vector per text, whatever makes it; ``opened`` opens what it starts from."""
    job = start_job(context, name)
    settings: BiEncoder = job.settings
    with job.record:
        start = opened(job.init, settings, job.place, settings.dropout)
        job.check_lengths(start.encoder, "query_length", "passage_length")
        job.pack(start.encoder)
        job.record.notes["reading"] = start.reading.for_manifest()
        passages = job.passages(start.tokenizer, settings.passage_length, start.reading)
        trained, teacher = taught_queries(job)
        queries = start.reader.queries(trained.texts)
        hidden = HiddenQueries.of(job, trained, start.reader.passages) if settings.hide_query else None
        collate = GroupCollator(trained, queries, passages, start.tokenizer, teacher, hidden)
        model = start.model(most_texts(settings))
        options = {"distillation": (settings.distillation, settings.teacher_temperature)}
        module = BiEncoderTraining(model, settings.temperature, settings.contrastive_weight, settings.score_terms, **options)
        evaluate = _evaluation(job, model, collate) if len(trained.held_out) else None
        fit(job.undivided, module, len(trained.seen), trained.item, collate, evaluate=evaluate, evaluate_every=trained.epoch_steps)
        job.export(start.encoder, start.tokenizer, lengths=start.lengths, card=start.said(), write=start.write, **start.contents())


def most_texts(settings: BiEncoder) -> int | None:
    """Texts forwarded at once, where ``micro_batch_size`` bounds them: inside the model, because in-batch negatives must span the whole batch."""
    share = settings.batch_size // processes.count()
    bounded = settings.micro_batch_size is not None and settings.micro_batch_size < share
    return settings.micro_batch_size * (1 + hard_negatives(settings)) if bounded else None


def _evaluation(job: TrainingJob, model: BiEncoderModel, collate: GroupCollator) -> Any:
    """Reciprocal rank of the held-out queries' positives in the pool of all their passages."""
    held_out, rows = collate.trained.held_out, collate.trained.pool()
    pool, places = np.unique(rows, return_inverse=True)
    positives = places.reshape(rows.shape)[:, 0]
    others = [np.isin(pool, collate.trained.groups.positives_of(query)) for query in held_out.tolist()]

    def evaluate() -> dict[str, float]:
        device = next(model.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=job.precision.bf16):
            query, passage = (
                embed_tokens(model, tokens, collate.tokenizer, device=device, batch_size=256, multiple=MULTIPLE)
                for tokens in (collate.queries.take(held_out), collate.passages.take(pool))
            )
            own = collate.hidden and embed_tokens(
                model, collate.hidden.views(held_out, rows[:, 0]), collate.tokenizer, device=device, batch_size=256, multiple=MULTIPLE
            )
        scores = query @ passage.T
        if own is not None:
            scores[np.arange(len(scores)), positives] = (query * own).sum(1)
        scores[np.stack(others) & (np.arange(len(pool)) != positives[:, None])] = -np.inf
        ranks = (scores >= scores[np.arange(len(scores)), positives][:, None]).sum(1)
        return {"held_out/RR": float(np.mean(1 / ranks))}

    return evaluate
