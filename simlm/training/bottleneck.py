"""Pre-training through corrupted text and the heads that undo it: SimLM (paper section 3.1) and its relatives, by settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch import nn

from simlm.config.kinds import Bottleneck
from simlm.context import Context
from simlm.errors import UserError
from simlm.models.bottleneck import BottleneckModel, BottleneckOptions, labelled_positions
from simlm.models.loading import load_tokenizer, resolve_init
from simlm.models.masked_language_model import bottleneck_writer, load_heads, load_masked_language_model
from simlm.models.reading import Reading
from simlm.models.text import Tokens, pad
from simlm.progress import say
from simlm.text.token_cache import PassageTokens
from simlm.text.vocabulary import Vocabulary
from simlm.training.distributed import parts_of
from simlm.training.job import TrainingJob, start_job
from simlm.training.masking import DECODER_STREAM, ENCODER_STREAM, bottleneck_masks, hidden_places, word_ids
from simlm.training.probe import RetrievalProbe
from simlm.training.randomness import single, uniform
from simlm.training.spans import SpanCollator, SpanContrast, Spans, title_numbers
from simlm.training.trainer import fit

HOLDOUT_SEED = 123
"""Chooses the held-out passages, the same ones for every seed of a training; the authors' number."""

_REPLACEMENT_STREAMS, _LABEL_STREAM, _HIDING_STREAM = (2, 3), 4, 5


class BottleneckCollator:
    """Batches of passages with both masks, the generator's draws and the labelled positions.

    An item is (epoch, row); all randomness is a function of (seed, epoch, row).
    """

    def __init__(self, passages: PassageTokens, tokenizer, settings: Bottleneck, seed: int) -> None:
        self.passages, self.tokenizer, self.settings, self.seed = passages, tokenizer, settings, seed
        self.vocabulary = Vocabulary.of(tokenizer)

    def __call__(self, items: list[tuple[int, int]]) -> dict[str, Any]:
        keys = np.array(items)
        return self.corrupt(self.passages.take(keys[:, 1]), keys)

    def corrupt(self, tokens: Tokens, keys: np.ndarray) -> dict[str, Any]:
        """A batch of texts; ``keys`` are the places that their random numbers belong to, shape (texts, k)."""
        batch = pad(tokens, self.tokenizer, multiple=16)
        ids = batch["input_ids"].numpy()
        width = ids.shape[1]
        words = word_ids(ids, self.vocabulary.continues, self.vocabulary.special, self.vocabulary.ends)
        draws = tuple(uniform(self.seed, stream, keys, width) for stream in (ENCODER_STREAM, DECODER_STREAM))
        settings = self.settings
        encoder, decoder = bottleneck_masks(words, tokens.lengths, *self._shares(), draws)
        unlabelled = words < 0
        if settings.unknown_tokens == "kept":
            unknown = ids == self.tokenizer.unk_token_id
            encoder, decoder, unlabelled = encoder & ~unknown, decoder & ~unknown, unlabelled | unknown
        replacement = np.stack([uniform(self.seed, stream, keys, width) for stream in _REPLACEMENT_STREAMS])
        fraction = settings.label_fraction
        labelled = labelled_positions(unlabelled, fraction, uniform(self.seed, _LABEL_STREAM, keys, width) if fraction < 1 else words)
        wanted = [
            int(masked.sum()) if objective == "restore_masked" else len(labelled)
            for masked, objective in ((encoder, settings.encoder_objective), (decoder, settings.decoder_objective))
        ]
        own = settings.decoder == "shallow" and settings.decoder_corruption == "replaced"
        own = own and settings.generator_labels == "both"
        replaced = (int(encoder.sum()) if settings.encoder_corruption == "replaced" else 0) + (int(decoder.sum()) if own else 0)
        counts = torch.tensor([*wanted, replaced, int((words >= 0).any(1).sum())])
        return {
            "tokens": batch["input_ids"],
            "token_types": batch.get("token_type_ids"),
            "attention_mask": batch["attention_mask"],
            "encoder_masked": torch.from_numpy(encoder),
            "decoder_masked": torch.from_numpy(decoder),
            "draws": torch.from_numpy(single(replacement)),
            "labelled": torch.from_numpy(labelled),
            "mask_id": self.vocabulary.mask,
            **({"counts": counts} if settings.mean_over == "step" else {}),
            **self._extras(words, tokens.lengths, keys),
        }

    def _shares(self) -> tuple[float, float]:
        """Shares of the tokens that are corrupted for the encoder and for the decoder, which reads with Condenser what the encoder reads."""
        settings = self.settings
        encoder = 0.0 if settings.encoder_corruption == "clean" else settings.encoder_mask
        if settings.decoder != "shallow":
            return encoder, encoder
        return encoder, 0.0 if settings.decoder_corruption == "clean" else settings.decoder_mask

    def _extras(self, words: np.ndarray, lengths: np.ndarray, keys: np.ndarray) -> dict[str, Any]:
        """What only some settings read."""
        extras, width = {}, words.shape[1]
        if self.settings.decoder == "retromae":
            places = np.column_stack([np.repeat(keys, width, axis=0), np.tile(np.arange(width), len(keys))])
            draws = uniform(self.seed, _HIDING_STREAM, places, width).reshape(len(keys), width, width)
            extras["hidden_from"] = torch.from_numpy(hidden_places(words, lengths, self.settings.decoder_mask, draws))
        if self.settings.bag_of_words is not None:
            extras |= {"content": torch.from_numpy(words >= 0), "progress": 0.0}
        return extras


def train(context: Context, name: str) -> None:
    """Pre-train the ``bottleneck`` model ``name`` and export it with its decoder and head."""
    job = start_job(context, name)
    settings: Bottleneck = job.settings
    with job.record:
        tokenizer = load_tokenizer(context.paths.tokenizer)
        model = build(context, name, tokenizer, job.record.caution)
        job.check_lengths(model.encoder, "max_length")
        job.pack(model.encoder, *([model.generator] if model.generator is not None else []))
        texts = (_passages if settings.span_contrast is None else _pairs_of_spans)(job, model, tokenizer)
        seen, held_out = split_holdout(texts.count, settings)
        job.record.metrics["held_out_passages"] = len(held_out)
        evaluate = _evaluation(job, model, texts, tokenizer, held_out)
        every = settings.probe.every_steps if settings.probe else None
        lengths = None if texts.lengths is None else texts.lengths[seen]
        fit(texts.job, texts.module, len(seen), lambda epoch, i: (epoch, int(seen[i])), texts.collate, evaluate=evaluate, evaluate_every=every, lengths=lengths)
        write = bottleneck_writer(model, model.generator if settings.train_generator else None)
        job.export(model.encoder, tokenizer, lengths={"passage": settings.max_length}, write=write)


class _Texts(NamedTuple):
    """What is trained on: ``module`` reads what ``collate`` makes of items (epoch, number of a text), ``whole`` the same undivided."""

    job: TrainingJob
    module: nn.Module
    collate: Callable[[list[tuple[int, int]]], dict[str, Any]]
    whole: Callable[[list[tuple[int, int]]], dict[str, Any]]
    count: int
    lengths: np.ndarray | None


def _passages(job: TrainingJob, model: BottleneckModel, tokenizer) -> _Texts:
    passages = job.passages(tokenizer, job.settings.max_length)
    collate = BottleneckCollator(passages, tokenizer, job.settings, job.seed)
    return _Texts(job, model, collate, collate, len(passages), passages.lengths)


def _pairs_of_spans(job: TrainingJob, model: BottleneckModel, tokenizer) -> _Texts:
    settings: Bottleneck = job.settings
    contrast = settings.span_contrast
    passages = job.passages(tokenizer, contrast.read, Reading(title="none"))
    spans = Spans(passages, settings.max_length, title_numbers(job.store) if contrast.of == "title" else None)
    job.record.notes["spans"] = {"texts of two spans or more": len(spans), "their spans": int(spans.counts.sum())}
    say(f"{len(spans):,} texts have two spans or more of {settings.max_length} tokens, on average {spans.counts.mean() if len(spans) else 0:.1f}")
    if len(spans) < 2:
        raise UserError(f"{job.place}.span_contrast: no two texts of the corpus have two spans of {settings.max_length} tokens (max_length); lower it")
    corrupt = BottleneckCollator(passages, tokenizer, settings, job.seed).corrupt
    # The loss between spans needs the whole batch at once; memory is bounded by the pieces in which it is read.
    collate = SpanCollator(spans, corrupt, job.seed, settings.micro_batch_size)
    return _Texts(job.undivided, SpanContrast(model, contrast.weight), collate, SpanCollator(spans, corrupt, job.seed), len(spans), None)


def build(context: Context, name: str, tokenizer, caution: Callable[[str], None] | None = None) -> BottleneckModel:
    """Put encoder, heads and generator together; decoder and heads of an ``init`` that is itself a bottleneck model go on.

    ``caution`` is told of a base without a head for masked words.
    """
    settings = context.experiment.models[name]
    encoder = load_masked_language_model(resolve_init(context, settings.init), tokenizer, caution)
    generator = load_masked_language_model(resolve_init(context, settings.generator), tokenizer, caution) if settings.replaces else None
    _check_parts(name, settings, encoder, generator)
    model = BottleneckModel(encoder, generator, BottleneckOptions.of(settings))
    if settings.init in context.experiment.models and context.experiment.models[settings.init].format == settings.format:
        load_heads(context.paths.model(settings.init), model)
    elif settings.span_contrast and settings.decoder == "condenser":
        (caution or say)(f"{name} starts with a fresh head, which harms what {settings.init} knows; coCondenser should go on from a Condenser with its head")
    return model


def _check_parts(name: str, settings: Bottleneck, encoder: nn.Module, generator: nn.Module | None) -> None:
    if generator is not None and encoder.config.vocab_size != generator.config.vocab_size:
        words, others = encoder.config.vocab_size, generator.config.vocab_size
        raise UserError(
            f"models.{name}: {settings.init} has {words} token embeddings and the generator {settings.generator} {others}; they must share one vocabulary"
        )
    layers = encoder.config.num_hidden_layers
    if settings.decoder != "none" and settings.decoder_init == "copied" and settings.decoder_layers > layers:
        raise UserError(
            f"models.{name}.decoder_layers is {settings.decoder_layers}, but {settings.init} has {layers} layers to copy; lower it or set decoder_init: fresh"
        )
    if settings.early_layer is not None and settings.early_layer >= layers:
        raise UserError(f"models.{name}.early_layer is {settings.early_layer}, but {settings.init} has {layers} layers; take one before the last")


def split_holdout(passages: int, settings: Bottleneck) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows held out for the evaluation of the losses (at most a tenth of the corpus)."""
    order = np.random.default_rng(HOLDOUT_SEED).permutation(passages)
    size = min(settings.holdout, passages // 10)
    return np.sort(order[size:]), np.sort(order[:size])


def _evaluation(job: TrainingJob, model: BottleneckModel, texts: _Texts, tokenizer, held_out: np.ndarray):
    """Losses on the held-out texts, and the retrieval probe."""
    settings = job.settings
    searched = [block for block in job.context.experiment.models.values() if block.encodes and not block.ragged]
    queries = min((block.query_length for block in searched if block.query_length), default=32)
    probe = RetrievalProbe(job.store, tokenizer, settings.probe, queries, settings.max_length, job.seed) if settings.probe and job.is_main else None

    def evaluate() -> dict[str, float]:
        device = next(model.parameters()).device
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=job.precision.bf16):
            values = _held_out_losses(texts, held_out, device)
            return values | (probe(model.body) if probe else {})

    return evaluate


def _held_out_losses(texts: _Texts, held_out: np.ndarray, device: torch.device) -> dict[str, float]:
    sums: dict[str, float] = {}
    for rows in _chunks(held_out, 128):
        batch = send_to_device(texts.whole([(0, int(row)) for row in rows]), device)
        for part in parts_of(batch):
            part.pop("counts", None)
        for name, value in texts.module(**batch).items():
            if name.endswith("loss"):
                sums[f"held_out/{name}"] = sums.get(f"held_out/{name}", 0.0) + float(value) * len(rows) / len(held_out)
    return sums


def _chunks(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
