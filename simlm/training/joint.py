"""Training a retriever and a re-ranker together over the same lists: dynamic listwise distillation (RocketQAv2, section 3.2)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import nn

from simlm.config.kinds import Joint
from simlm.config.kinds.joint import Denoising
from simlm.config.kinds.roles import Reranker
from simlm.context import Context
from simlm.errors import UserError
from simlm.lexical.hints import LexicalHints
from simlm.models.batches import MULTIPLE
from simlm.models.biencoder import BiEncoderModel
from simlm.models.crossencoder import CrossEncoderModel, PairScorer
from simlm.models.embedding import embed_tokens
from simlm.models.loading import check_length, fit_tokenizer, load_classifier, load_tokenizer, resolve_init
from simlm.models.manifest import MANIFEST, verified_manifest
from simlm.models.pairs import PairJoiner
from simlm.models.retriever import open_retriever
from simlm.models.text import Tokens, pad
from simlm.models.weights import folder_of
from simlm.progress import say
from simlm.scoring.base import Score
from simlm.scoring.dot import dot
from simlm.text.token_cache import PassageTokens
from simlm.training.denoising import denoised
from simlm.training.groups import Groups
from simlm.training.job import TrainingJob, start_job
from simlm.training.listwise import listwise_divergence
from simlm.training.losses import ranking_loss
from simlm.training.passage_cache import PassageCache
from simlm.training.queries import TrainingQueries
from simlm.training.selection import MEASURE
from simlm.training.teacher_scores import TeacherScores
from simlm.training.trainer import fit


class JointTraining(nn.Module):
    """Loss of one step over this process's queries: the re-ranker's surprise at the labels plus the divergence of the two models.

    Parameters
    ----------
    retriever, reranker
        Embeds texts; scores pairs.
    temperature
        The retriever's scores are divided by it.
    direction, reduction, gradient
        See :func:`~simlm.training.listwise.listwise_divergence`.
    score
        Compares what ``retriever`` makes of queries and passages.
    """

    divisible = True
    """The loss of a step is a mean over its examples, which may be read in micro-batches of any size."""

    def __init__(
        self, retriever: nn.Module, reranker: nn.Module, temperature: float, direction: str, reduction: str, gradient: str, score: Score = dot
    ) -> None:
        super().__init__()
        self.retriever, self.reranker = retriever, reranker
        self.temperature, self.direction, self.reduction, self.gradient, self.score = temperature, direction, reduction, gradient, score

    def forward(self, queries: dict[str, torch.Tensor], passages: dict[str, torch.Tensor], pairs: dict[str, torch.Tensor]) -> dict[str, Any]:
        """One step.

        Parameters
        ----------
        queries
            Padded.
        passages
            Their lists, padded, one query after the other, the positive first.
        pairs
            The same lists as the re-ranker reads them, padded, in the same order.
        """
        query, passage, logits = self.retriever(queries), self.retriever(passages), self.reranker(pairs)
        with torch.autocast(query.device.type, enabled=False):
            own = self.score.own(query, passage) / self.temperature
            other = logits.view(own.shape)
            supervised = ranking_loss(other)
            divergence = listwise_divergence(own, other, self.direction, self.reduction, self.gradient)
        tokens = sum(batch["attention_mask"].sum() for batch in (queries, passages, pairs))
        return {"loss": supervised + divergence, "ranking_loss": supervised.detach(), "divergence": divergence.detach(), "tokens": tokens}


@dataclasses.dataclass(frozen=True)
class Lists:
    """The lists that a query is seen with, undenoised and denoised ones.

    Attributes
    ----------
    plain, clean
        The same queries with their undenoised and, if there are any, denoised lists.
    only_clean
        Whether the undenoised ones are left out.
    """

    plain: Groups
    clean: Groups | None = None
    only_clean: bool = False

    def has_clean(self, query: int) -> bool:
        """Whether a query has a denoised list."""
        return self.clean is not None and len(self.clean.negatives_of(query)) > 0

    def visit(self, seed: int, epoch: int, query: int, n: int, rotation: str) -> np.ndarray:
        """Rows of a query's list in an epoch, the positive first, shape (1 + n,).

        Where a query has both, they take turns from epoch to epoch, and half of the queries begin with the denoised one.
        """
        if not self.has_clean(query):
            return self.plain.visit(seed, epoch, query, n, rotation)
        if self.only_clean:
            return self.clean.visit(seed, epoch, query, n, rotation)
        groups = self.clean if (int(self.plain.keys[query]) + epoch) % 2 else self.plain
        return groups.visit(seed, epoch // 2, query, n, rotation)


class ListCollator:
    """Batches of lists for both models; an item is (epoch, query number), from which all that is seen follows."""

    def __init__(
        self,
        lists: Lists,
        settings: Joint,
        seed: int,
        retriever: tuple[Tokens, PassageTokens, Any],
        reranker: tuple[Tokens, PassageCache, PairJoiner],
        hints: Any,
    ) -> None:
        self.lists, self.settings, self.seed, self.hints = lists, settings, seed, hints
        self.queries, self.passages, self.tokenizer = retriever
        self.pair_queries, self.pair_passages, self.joiner = reranker

    def __call__(self, items: list[tuple[int, int]]) -> dict[str, Any]:
        n, rotation = self.settings.hard_negatives, self.settings.rotation
        rows = np.stack([self.lists.visit(self.seed, epoch, query, n, rotation) for epoch, query in items])
        numbers = np.array([query for _, query in items])
        return {
            "queries": pad(self.queries.take(numbers), self.tokenizer, MULTIPLE),
            "passages": pad(self.passages.take(rows.reshape(-1)), self.tokenizer, MULTIPLE),
            "pairs": pad(self.join(numbers, rows), self.joiner.tokenizer, MULTIPLE),
        }

    def join(self, queries: np.ndarray, rows: np.ndarray) -> Tokens:
        """Pairs of each query with its list; ``rows`` has the shape (queries, list)."""
        repeated, flat = np.repeat(queries, rows.shape[1]), rows.reshape(-1)
        return self.joiner.join(self.pair_queries.take(repeated), self.pair_passages.take(flat), self.hints and self.hints(repeated, flat))


def train(context: Context, name: str) -> None:
    """Train the two models of ``name`` and export each into a folder of its own."""
    job = start_job(context, name)
    settings: Joint = job.settings
    paths = context.paths
    with job.record:
        start = open_retriever(job.init, settings, job.place, settings.dropout)
        job.check_lengths(start.encoder, "query_length", "passage_length")
        classifier, joiner = _open_reranker(job)
        job.pack(start.encoder, classifier)
        job.record.notes["reading"] = start.reading.for_manifest()
        trained = TrainingQueries.of(context, name, job.store)
        lists, trained = _lists(job, trained)
        job.record.notes["queries"] = trained.counts
        passages = job.passages(start.tokenizer, settings.passage_length, start.reading)
        pair_passages = PassageCache(job.store, [trained.groups.positives, trained.groups.negatives], joiner.passages, paths.root / "training")
        hints = LexicalHints.open(context, job.store, trained.texts) if settings.lexical_hints else None
        read = (start.reader.queries(trained.texts), passages, start.tokenizer), (joiner.queries(trained.texts), pair_passages, joiner)
        collate = ListCollator(lists, settings, job.seed, *read, hints)
        retriever, reranker = BiEncoderModel(start.encoder, head=start.head), CrossEncoderModel(classifier)
        options = (settings.temperature, settings.kl_direction, settings.kl_reduction, settings.kl_gradient)
        module = JointTraining(retriever, reranker, *options)
        evaluate = _evaluation(job, module, collate, trained) if len(trained.held_out) else None
        fit(job, module, len(trained.seen), trained.item, collate, evaluate=evaluate, evaluate_every=trained.epoch_steps)
        job.export(start.encoder, start.tokenizer, "retriever", lengths=start.lengths, card=start.said(), **start.contents())
        lengths, extra = {"pair": settings.max_length}, {"lexical_hints": settings.lexical_hints, "untitled": joiner.untitled}
        job.export(classifier, joiner.tokenizer, "reranker", lengths=lengths, card={}, extra=extra)


def _open_reranker(job: TrainingJob) -> tuple[Any, PairJoiner]:
    """The re-ranker's start and what makes its pairs.

    Raises
    ------
    UserError
        If it cannot be had, is too small, or was trained on pairs of another form.
    """
    settings: Joint = job.settings
    init = resolve_init(job.context, settings.reranker_init)
    folder = folder_of(init)
    said = verified_manifest(folder) if (folder / MANIFEST).is_file() else {}
    if said.get("kind") == Reranker.format and said.get("lexical_hints", False) != settings.lexical_hints:
        raise UserError(
            f"{job.place}.lexical_hints is {str(settings.lexical_hints).lower()}, but {settings.reranker_init}, which the re-ranker starts from, "
            f"{'does not read' if settings.lexical_hints else 'reads'} BM25's scores; set it to {str(not settings.lexical_hints).lower()}"
        )
    classifier, tokenizer = load_classifier(init), load_tokenizer(init)
    fit_tokenizer(tokenizer, classifier, init)
    check_length(classifier, settings.max_length, f"{job.place}.max_length", init)
    return classifier, PairJoiner(tokenizer, settings.max_length, settings.untitled or said.get("untitled", "text"))


def _lists(job: TrainingJob, trained: TrainingQueries) -> tuple[Lists, TrainingQueries]:
    """The lists of a training, denoised where it asks for that, and the queries that have one."""
    settings, paths = job.settings, job.context.paths
    if settings.teacher is None:
        return Lists(trained.groups), trained
    folder, denoise = paths.training(job.name).parent, settings.denoise or Denoising()
    scores = TeacherScores.read(paths.teacher_scores(job.name), job.name, trained.groups, folder)
    from_files = any(job.context.experiment.system(teacher).teaches for teacher in settings.teachers().values())
    clean, counts = denoised(trained.groups, scores, denoise, settings.hard_negatives, folder, not from_files)
    job.record.notes["denoised"] = dataclasses.asdict(counts)
    queries, teachers = len(trained.groups), " and ".join(settings.teachers().values())
    say(
        f"{teachers} is sure of {counts.kept:,} of {counts.listed:,} listed negatives and takes {counts.positives:,} for positives; "
        f"{queries - counts.without_list:,} of {queries:,} queries have a denoised list"
    )
    lists = Lists(trained.groups, clean, settings.lists == "denoised")
    if settings.lists == "denoised":
        trained = dataclasses.replace(trained, seen=np.array([query for query in trained.seen.tolist() if lists.has_clean(query)], np.int64))
    if counts.without_list == queries:
        raise UserError(
            f"{job.place}.denoise leaves no query {settings.hard_negatives} negatives (thresholds {denoise.positive:g} and {denoise.negative:g} of the "
            f"{denoise.scale}); choose other thresholds, fewer hard_negatives, or longer lists (negatives.sample, negatives.pad_to)"
        )
    if counts.without_list > queries / 2:
        job.record.caution(
            f"{job.name}: {counts.without_list:,} of {queries:,} queries keep fewer than {settings.hard_negatives} negatives and have no denoised list"
        )
    return lists, trained


def _evaluation(job: TrainingJob, module: JointTraining, collate: ListCollator, trained: TrainingQueries) -> Any:
    """Reciprocal rank of the held-out queries' positives among some of their listed negatives, by either model, and the mean of the two.

    One state of the training is exported for both, as they were trained by each other.
    """
    held_out, rows = trained.held_out, trained.pool()

    def evaluate() -> dict[str, float]:
        device = next(module.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=job.precision.bf16):
            query, passage = (
                embed_tokens(module.retriever, tokens, collate.tokenizer, device=device, batch_size=256, multiple=MULTIPLE)
                for tokens in (collate.queries.take(held_out), collate.passages.take(rows.reshape(-1)))
            )
        found = module.score.own(torch.from_numpy(query), torch.from_numpy(passage)).numpy()
        sorted_again = PairScorer(module.reranker, collate.joiner, job.precision).score_tokens(collate.join(held_out, rows)).reshape(rows.shape)
        values = {
            f"held_out/{what}_RR": float(np.mean(1 / (scores >= scores[:, :1]).sum(1))) for what, scores in (("retriever", found), ("reranker", sorted_again))
        }
        return {**values, MEASURE: float(np.mean(list(values.values())))}

    return evaluate
