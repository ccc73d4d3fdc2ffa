"""Masked language modelling of a small BERT on the corpus: the base and the generator of an experiment from scratch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from simlm import metering
from simlm.config.kinds import MaskedLanguageModel
from simlm.context import Context
from simlm.hardware import attention_implementation
from simlm.models.heads.language import filled_up, head_states, output_layer
from simlm.models.linear_cross_entropy import linear_cross_entropy
from simlm.models.loading import load_tokenizer
from simlm.models.masked_language_model import load_masked_language_model
from simlm.models.packing import is_packed
from simlm.models.text import pad
from simlm.text.token_cache import PassageTokens
from simlm.text.vocabulary import Vocabulary
from simlm.training.job import start_job
from simlm.training.masking import ENCODER_STREAM, whole_word_mask, word_ids
from simlm.training.randomness import uniform
from simlm.training.trainer import fit


class MaskedLanguageModelling(nn.Module):
    """Loss of a masked language model at the masked positions only."""

    divisible = True
    """The loss of a step is a mean over its examples, which may be read in micro-batches of any size."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        places: torch.Tensor,
        labels: torch.Tensor,
        shares: torch.Tensor,
        **token_types: torch.Tensor,
    ) -> dict[str, Any]:
        """Mean cross-entropy of ``labels`` (masked,) at the flat positions ``places`` (masked,) of (passages, length).

        ``token_types`` holds ``token_type_ids`` where the architecture reads them.
        ``shares`` (1,) is the weight of this mean in that of the whole step, see :func:`~simlm.training.distributed.put_shares`.
        """
        real = attention_mask.sum()
        if not is_packed(self.model):
            metering.read(real, input_ids.numel())
        states = self.model.base_model(input_ids=input_ids, attention_mask=attention_mask, **token_types).last_hidden_state
        states = head_states(self.model, states.reshape(-1, states.shape[-1])[places])
        return {"loss": shares[0] * linear_cross_entropy(states, *output_layer(self.model), labels), "tokens": real}


class MaskingCollator:
    """Batches of masked passages; an item is (epoch, row), from which all randomness follows."""

    def __init__(self, passages: PassageTokens, tokenizer, probability: float, seed: int) -> None:
        self.passages, self.tokenizer, self.probability, self.seed = passages, tokenizer, probability, seed
        self.vocabulary = Vocabulary.of(tokenizer)

    def __call__(self, items: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        tokens = self.passages.take([row for _, row in items])
        batch = pad(tokens, self.tokenizer, multiple=16)
        ids = batch["input_ids"].numpy()
        words = word_ids(ids, self.vocabulary.continues, self.vocabulary.special, self.vocabulary.ends)
        mask = whole_word_mask(words, tokens.lengths, self.probability, uniform(self.seed, ENCODER_STREAM, np.array(items), ids.shape[1]))
        places, labels = filled_up(torch.from_numpy(np.flatnonzero(mask.reshape(-1))), torch.from_numpy(ids.reshape(-1)))
        batch["input_ids"] = torch.from_numpy(np.where(mask, self.vocabulary.mask, ids))
        return {**batch, "places": places, "labels": labels, "counts": torch.tensor([int(mask.sum())])}


def train(context: Context, name: str) -> None:
    """Train the ``mlm`` model ``name`` and export it."""
    job = start_job(context, name)
    settings: MaskedLanguageModel = job.settings
    with job.record:
        tokenizer = load_tokenizer(context.paths.tokenizer)
        model = new_bert(settings, tokenizer) if settings.size else load_masked_language_model(job.init, tokenizer, job.record.caution)
        job.check_lengths(model, "max_length")
        job.pack(model)
        passages = job.passages(tokenizer, settings.max_length)
        collate = MaskingCollator(passages, tokenizer, settings.mask_probability, job.seed)
        fit(job, MaskedLanguageModelling(model), len(job.store), lambda epoch, row: (epoch, row), collate, lengths=passages.lengths)
        job.export(model, tokenizer, lengths={"passage": settings.max_length})


def new_bert(settings: MaskedLanguageModel, tokenizer) -> nn.Module:
    """A BERT masked language model with fresh weights in the configured size."""
    from transformers import BertConfig, BertForMaskedLM

    size = settings.size
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=size.intermediate,
        max_position_embeddings=size.positions,
        hidden_dropout_prob=size.dropout,
        attention_probs_dropout_prob=size.dropout,
        pad_token_id=tokenizer.pad_token_id,
    )
    config._attn_implementation = attention_implementation()
    return BertForMaskedLM(config)
