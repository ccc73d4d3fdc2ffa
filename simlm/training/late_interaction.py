"""Training late interaction: lists distilled from a re-ranker, or positives against hard negatives, and in-batch negatives (ColBERTv2, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.nn import functional

from simlm.config.kinds import LateInteraction
from simlm.context import Context
from simlm.models.batches import MULTIPLE
from simlm.models.embedding import embed_token_vectors
from simlm.models.late_interaction import LateInteractionModel, TokenReader
from simlm.models.text import Tokens
from simlm.models.token_retriever import ENTRY, open_token_retriever
from simlm.scoring.maxsim import TokenVectors, maxsim
from simlm.text.token_cache import PassageTokens
from simlm.training.biencoder import GroupCollator, most_texts
from simlm.training.distributed import gather, scale_gradient, world_size
from simlm.training.job import TrainingJob, start_job
from simlm.training.losses import distillation_loss, in_batch_loss, ranking_loss
from simlm.training.taught import taught_queries
from simlm.training.trainer import fit


class LateInteractionTraining(nn.Module):
    """Losses of one step over the global batch.

    Parameters
    ----------
    temperature, list_weight, in_batch_weight
        See the configuration of the kind.
    distillation
        Form and teacher's temperature of :func:`~simlm.training.losses.distillation_loss`.
    """

    def __init__(
        self,
        model: LateInteractionModel,
        temperature: float = 1.0,
        list_weight: float = 1.0,
        in_batch_weight: float = 1.0,
        distillation: tuple[str, float] = ("kl", 1.0),
    ) -> None:
        super().__init__()
        self.model, self.temperature = model, temperature
        self.list_weight, self.in_batch_weight, self.distillation = list_weight, in_batch_weight, distillation

    def forward(
        self, queries: dict[str, torch.Tensor], passages: dict[str, torch.Tensor], rows: torch.Tensor, teacher: torch.Tensor | None = None
    ) -> dict[str, Any]:
        """One step; parameters as in :class:`~simlm.training.biencoder.BiEncoderTraining`."""
        tokens = queries["attention_mask"].sum() + passages["attention_mask"].sum()
        query, passage = self.model.queries(queries), self.model.passages(passages)
        query, passage = gather_tokens(query), gather_tokens(passage)
        values: dict[str, Any] = {"tokens": tokens}
        with torch.autocast(query.values.device.type, enabled=False):
            loss = query.values.new_zeros(())
            if self.list_weight and len(passage) > len(query):
                scores = maxsim.own(query, passage) / self.temperature
                if teacher is not None:
                    of_list, name = distillation_loss(scores, gather(teacher), *self.distillation), "distillation_loss"
                else:
                    of_list, name = ranking_loss(scores), "ranking_loss"
                values[name] = of_list.detach()
                loss = loss + self.list_weight * of_list
            if self.in_batch_weight:
                in_batch = in_batch_loss(query, passage, gather(rows), self.temperature, maxsim)
                values["in_batch_loss"] = in_batch.detach()
                loss = loss + self.in_batch_weight * in_batch
        return {"loss": scale_gradient(loss), **values}


def gather_tokens(local: TokenVectors) -> TokenVectors:
    """Token vectors of all processes in rank order, as :func:`~simlm.training.distributed.gather` does; the widest decides the padding."""
    if world_size() == 1:
        return local
    width = torch.tensor(local.mask.shape[1], device=local.mask.device)
    distributed.all_reduce(width, distributed.ReduceOp.MAX)
    missing = int(width) - local.mask.shape[1]
    values, mask = functional.pad(local.values, (0, 0, 0, missing)), functional.pad(local.mask, (0, missing))
    return TokenVectors(gather(values), gather(mask.to(torch.uint8)).bool())


class MarkedPassages:
    """Passages of the token cache with their markers, by row."""

    def __init__(self, passages: PassageTokens, reader: TokenReader) -> None:
        self.passages, self.reader = passages, reader

    def take(self, rows: np.ndarray) -> Tokens:
        """Tokens of ``rows``, in that order."""
        return self.reader.marked(self.passages.take(rows))


def train(context: Context, name: str) -> None:
    """Train the late-interaction model ``name`` and export it."""
    job = start_job(context, name)
    settings: LateInteraction = job.settings
    with job.record:
        start = open_token_retriever(job.init, settings, settings.dropout)
        job.check_lengths(start.encoder, "query_length", "passage_length")
        reader = start.reader
        job.record.notes["reading"] = start.entry()[ENTRY]
        passages = job.passages(start.tokenizer, reader.plain.lengths["passage"], reader.plain.reading)
        trained, teacher = taught_queries(job)
        queries = reader.queries(trained.texts)
        collate = GroupCollator(trained, queries, MarkedPassages(passages, reader), start.tokenizer, teacher)
        model = start.model(most_texts(settings))
        distillation = settings.distillation, settings.teacher_temperature
        module = LateInteractionTraining(model, settings.temperature, settings.list_weight, settings.in_batch_weight, distillation)
        evaluate = _evaluation(job, model, collate) if len(trained.held_out) else None
        fit(job.undivided, module, len(trained.seen), trained.item, collate, evaluate=evaluate, evaluate_every=trained.epoch_steps)
        job.export(start.encoder, start.tokenizer, lengths=start.lengths, card=start.entry(), extra=start.entry(), write=start.write)


def _evaluation(job: TrainingJob, model: LateInteractionModel, collate: GroupCollator) -> Callable[[], dict[str, float]]:
    """Reciprocal rank of the held-out queries' positives in the pool of all their passages."""
    held_out, rows = collate.trained.held_out, collate.trained.pool()
    pool, places = np.unique(rows, return_inverse=True)
    positives = torch.from_numpy(places.reshape(rows.shape)[:, :1])
    others = torch.from_numpy(np.stack([np.isin(pool, collate.trained.groups.positives_of(query)) for query in held_out.tolist()])).scatter(1, positives, False)

    def embedded(forward: Callable[..., TokenVectors], tokens: Tokens, device: torch.device) -> TokenVectors:
        vectors = embed_token_vectors(forward, tokens, collate.tokenizer, device=device, batch_size=256, multiple=MULTIPLE)
        values = nn.utils.rnn.pad_sequence([torch.from_numpy(own) for own in vectors], batch_first=True)
        lengths = torch.tensor([len(own) for own in vectors])
        return TokenVectors(values, torch.arange(values.shape[1]) < lengths[:, None])

    def evaluate() -> dict[str, float]:
        device = next(model.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=job.precision.bf16):
            queries = embedded(model.queries, collate.queries.take(held_out), device)
            passages = embedded(model.passages, collate.passages.take(pool), device)
        scores = maxsim(queries, passages).masked_fill(others, -torch.inf)
        return {"held_out/RR": float((1 / (scores >= scores.gather(1, positives)).sum(1)).mean())}

    return evaluate
