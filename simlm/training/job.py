"""One model of the graph while it is trained: how it begins, what its start is, how it leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from simlm import hardware, processes
from simlm.config.kinds import Training
from simlm.config.stages import model_seed
from simlm.context import Context
from simlm.corpus.store import CorpusStore
from simlm.models.card import add_card
from simlm.models.folder import save_model
from simlm.models.loading import check_length, resolve_init
from simlm.models.manifest import WEIGHTS
from simlm.progress import say
from simlm.records.record import StageRecord
from simlm.text.token_cache import PassageTokens, TokenCache

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from simlm.models.reading import Reading


@dataclass
class TrainingJob:
    """One model of the graph while it is trained."""

    context: Context
    name: str
    settings: Training
    seed: int
    precision: hardware.Precision
    threads: int
    record: StageRecord

    @property
    def key(self) -> str:
        """Stage key: the identity of the model."""
        return self.record.key

    @property
    def checkpoint_key(self) -> str:
        """Identity of the checkpoints: the stage key, the arithmetic and the code that trains, so that nothing goes on from what other code did."""
        return f"{self.key}-{self.precision.name}-{self.record.code}"

    @property
    def is_main(self) -> bool:
        """Whether this process writes files (rank 0 of several processes)."""
        return processes.is_main()

    @property
    def place(self) -> str:
        """Path of the model's block in the configuration, for sentences."""
        return f"models.{self.name}"

    @cached_property
    def store(self) -> CorpusStore:
        """The corpus that is trained on."""
        return CorpusStore(self.context.paths.corpus)

    @cached_property
    def init(self) -> str:
        """Where the model lies that the training starts from, verified if it is one of the graph."""
        return resolve_init(self.context, self.settings.initial())

    @property
    def undivided(self) -> TrainingJob:
        """The same with whole steps, for losses that span a batch; what reads its texts keeps to ``micro_batch_size`` instead."""
        return replace(self, settings=self.settings.model_copy(update={"micro_batch_size": None}))

    def passages(self, tokenizer: PreTrainedTokenizerFast, length: int, reading: Reading | None = None) -> PassageTokens:
        """Tokens of the corpus, at most ``length`` of a passage; the record says how many passages have as many."""
        passages = TokenCache(self.store, tokenizer, length, self.context.paths.tokens, reading).whole()
        cut = float(np.mean(passages.lengths >= length))
        say(f"{cut:.0%} of the passages fill the {length} tokens that are read of them")
        self.record.notes["passages"] = {"as long as is read of them": f"{cut:.1%}"}
        return passages

    def pack(self, *models: PreTrainedModel) -> None:
        """Where the experiment asks for it, let encoders read rows of packed tokens; the record says why one goes on reading padding."""
        from simlm.models.packing import use_packing

        for model in models if self.context.experiment.packing else ():
            if reason := use_packing(model):
                self.record.caution(f"{self.name} reads padded batches although packing is true: {reason}")

    def check_lengths(self, model: PreTrainedModel, *fields: str) -> None:
        """Refuse lengths of the settings that are more than the model has positions for; ``fields`` name them."""
        for field in fields:
            check_length(model, getattr(self.settings, field), f"{self.place}.{field}", self.settings.initial() or self.name)

    def export(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        part: str | None = None,
        *,
        lengths: dict[str, int],
        card: Mapping[str, Any] | None = None,
        write: Callable[[Path], None] | None = None,
        **contents: Any,
    ) -> None:
        """Write the model's folder, or that of one of its parts, and name its weights in the record (the main process does).

        Parameters
        ----------
        card
            What its card says of how it reads; None for a model without a card.
        lengths, write, contents
            See :func:`~simlm.models.folder.save_model`.
        """
        if self.is_main:
            name = f"{self.name}.{part}" if part else self.name
            folder = self.context.paths.model(name)
            added = [write] if write else []
            added += [add_card(self.context, name, lengths, card)] if card is not None else []

            def finish(unfinished: Path) -> None:
                for add in added:
                    add(unfinished)

            kind = self.context.experiment.system(name).format
            save_model(folder, model, tokenizer, kind=kind, key=self.key, lengths=lengths, write=finish, **contents)
            self.record.outputs[f"{part}/weights" if part else "weights"] = folder / WEIGHTS


def start_job(context: Context, name: str) -> TrainingJob:
    """Seed everything, choose the arithmetic and open the stage's record."""
    settings = context.experiment.models[name]
    assert isinstance(settings, Training)
    record = context.record("train", name)
    processes.join()
    threads = hardware.prepare(settings.threads)
    precision = hardware.choose_precision(context.experiment.precision)
    seed = model_seed(context.experiment, name)
    torch.manual_seed(seed)
    record.notes |= {"precision": f"{precision.name}: {precision.reason}", "threads": threads, "processes": processes.count(), **_commits(settings)}
    several = f"{processes.count()} processes of " if processes.count() > 1 else ""
    say(f"Training {name} ({settings.kind}) with {several}{threads} threads in {precision.name} ({precision.reason}).")
    return TrainingJob(context, name, settings, seed, precision, threads, record)


def _commits(settings: Training) -> dict[str, dict[str, str]]:
    """Commits of the published models that a training reads; no entry if it reads none."""
    from simlm.config.remote import is_hub_id
    from simlm.hub import commit_of, fetch

    names = [name for name in (settings.initial(), *settings.reads_models().values()) if name and is_hub_id(name)]
    return {"published_models": {name: commit_of(fetch(name, "model")) for name in names}} if names else {}
