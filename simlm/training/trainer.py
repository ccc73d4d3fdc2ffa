"""The one way models are trained here: transformers' Trainer over a seeded schedule, with history and checkpoints."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging as transformers_logging

from simlm import metering, processes
from simlm.errors import UserError
from simlm.models.dropout import use_byte_dropout
from simlm.training import checkpoints
from simlm.training.checkpoint_files import ClearCheckpointErrors
from simlm.training.distributed import parts_of, put_shares
from simlm.training.history import History
from simlm.training.job import TrainingJob
from simlm.training.reporter import Reporter
from simlm.training.room import Room
from simlm.training.saving import SaveInTime
from simlm.training.schedule import Schedule, learning_rate_factor, look_every, total_steps
from simlm.training.selection import Selection
from simlm.training.stopping import StopInTime


def logging_steps(asked: int, steps: int, points: int = 20) -> int:
    """Steps between points of the curve: those asked for, or fewer where a training of at least ``points`` steps would have fewer points.

    >>> logging_steps(50, 256), logging_steps(50, 100_000), logging_steps(50, 12), logging_steps(3, 12)
    (12, 50, 12, 3)
    """
    return min(asked, steps // points if steps >= points else steps)


def fit(
    job: TrainingJob,
    module: nn.Module,
    examples: int,
    make: Callable[[int, int], Any],
    collate: Callable[[list[Any]], dict[str, Any]],
    *,
    evaluate: Callable[[], dict[str, float]] | None = None,
    evaluate_every: int | None = None,
    lengths: np.ndarray | None = None,
) -> int:
    """Train ``module`` in place; returns the number of optimiser steps.

    Parameters
    ----------
    module
        Called with the collated batch as keywords; returns a mapping with the scalar ``loss``. Other scalars of
        the mapping are averaged into the history; ``tokens`` is summed into a rate instead.
    examples, make, collate, lengths
        See :class:`~simlm.training.schedule.Schedule`.
    evaluate
        Returns numbers for the history; called every ``evaluate_every`` steps and at the end, in eval mode,
        without gradients, and without touching the random state of the training.

    Raises
    ------
    UserError
        If there is nothing to train on, the batch cannot be divided, or the loss is not finite.
    OutOfTime
        If the job's wall time is nearly over; a checkpoint of the last step is there then.
    Interrupted
        After SIGINT or SIGTERM; a checkpoint of the last step is there as well.
    """
    if examples == 0:
        raise UserError(f"{job.name}: there is not a single training example; check the counts of the stage that made them in its log")
    settings = job.settings
    steps = total_steps(settings, examples)
    _check_warmup(job, steps, examples)
    resume = _checkpoint(job)
    history = History(job.context.paths.history(job.name), checkpoints.step_of(resume)) if job.is_main else None
    selection = Selection(job, history.kept if history else (), resume) if evaluate and getattr(settings, "keep", "last") == "best" else None
    if selection is not None:
        evaluate_every = look_every(evaluate_every or steps, steps)
    reporter = Reporter(job, history, steps, evaluate, evaluate_every, selection)
    micro, accumulation = _micro_batches(job)
    room = Room(job, module, micro, micro * accumulation)
    stopping, saving = StopInTime(), SaveInTime(settings.checkpoint_minutes)

    def prepared(micro: int, resume: Path | None) -> _Trainer:
        arguments = _arguments(job, steps, micro, room.share // micro)
        order = {"lengths": lengths, "step": settings.batch_size, "micro": micro, "processes": processes.count()}
        schedule = Schedule(examples, steps * settings.batch_size, job.seed, make, **order)
        trainer = _Trainer(module, arguments, schedule, collate, reporter, [stopping, saving])
        if processes.rank():
            # The same dropout in every process would tie the examples of a batch together.
            torch.manual_seed(job.seed + 1_000_003 * processes.rank())
        if resume:
            reporter.resume(resume, arguments.device)
        return trainer

    trainer = prepared(micro, resume)
    start = time.monotonic()
    if selection is None or not selection.exhausted:
        with saving, metering.metered():
            while not trainer.trained(resume):
                room.halve(trainer.too_big)
                resume = trainer.saved_before_the_step()
                trainer = prepared(room.micro, resume)
    job.record.note_caution(room.halving and room.halving.said)
    for end in (saving, stopping):
        end.check(job.name, steps)
    if history is not None:
        history.settle()
    if selection is not None:
        steps = trainer.state.global_step or checkpoints.step_of(resume)
        selection.restore(module, steps)
    job.record.metrics |= {"steps": steps, "train_seconds": round(time.monotonic() - start, 2), "examples": examples, **reporter.last, **reporter.speed}
    job.record.say_speed()
    return steps


def _checkpoint(job: TrainingJob) -> Path | None:
    """The checkpoint that all processes go on from, as the main one finds it; those of another training are set aside."""
    folder = job.context.paths.training(job.name)
    claimed = checkpoints.claim(folder, job.checkpoint_key, job.context.paths.history(job.name)) if job.is_main else None
    name = processes.from_main(claimed and claimed.name)
    return folder / name if name else None


def _check_warmup(job: TrainingJob, steps: int, examples: int) -> None:
    settings = job.settings
    if steps <= settings.warmup_steps:
        job.record.caution(
            f"{job.name} ends inside its warm-up: {steps:,} steps ({examples:,} examples, batch_size {settings.batch_size}) and {settings.warmup_steps:,} of "
            f"warm-up, so that learning_rate {settings.learning_rate:g} is never reached; give more epochs, a smaller batch_size or a shorter warm-up"
        )


def _arguments(job: TrainingJob, steps: int, micro: int, accumulation: int) -> TrainingArguments:
    settings = job.settings
    return TrainingArguments(
        output_dir=str(job.context.paths.training(job.name)),
        max_steps=steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch_fused",
        train_sampling_strategy="sequential",
        logging_steps=logging_steps(settings.log_steps, steps),
        logging_nan_inf_filter=False,
        save_steps=settings.checkpoint_steps,
        save_total_limit=2,
        bf16=job.precision.bf16,
        use_cpu=not torch.cuda.is_available(),
        ddp_backend="gloo" if not torch.cuda.is_available() and processes.count() > 1 else None,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        seed=job.seed,
        data_seed=job.seed,
    )


class _Trainer(ClearCheckpointErrors, Trainer):
    """Trainer with our learning-rate shapes, averaged extra losses, global means, and checkpoints of modules with tied weights."""

    def __init__(
        self, module: nn.Module, arguments: TrainingArguments, schedule: Schedule, collate: Any, reporter: Reporter, endings: list[TrainerCallback]
    ) -> None:
        transformers_logging.set_verbosity_error()
        use_byte_dropout(module)
        super().__init__(model=module, args=arguments, train_dataset=schedule, data_collator=collate, callbacks=[reporter, *endings])
        self.reporter = reporter
        self.too_big: dict[str, Any] = {}
        # Our modules average over their micro-batch, so the Trainer divides by the accumulation.
        self.model_accepts_loss_kwargs = False
        self.remove_callback(next(type(c) for c in self.callback_handler.callbacks if type(c).__name__ in ("PrinterCallback", "ProgressCallback")))

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        if self.lr_scheduler is None:
            settings = self.reporter.job.settings
            shape = {"shape": settings.warmup_shape, "decay": settings.decay}
            factor = functools.partial(learning_rate_factor, warmup=settings.warmup_steps, total=num_training_steps, **shape)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device) -> tuple[list, None]:
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        parts = [part for batch in batches for part in parts_of(batch)]
        put_shares(parts)
        for part in parts:
            if "progress" in part:
                part["progress"] = self.state.global_step / self.state.max_steps
        return batches, None

    def trained(self, resume: Path | None) -> bool:
        """Train to the end; False if a micro-batch did not fit into the device's memory, which is ``too_big`` then."""
        try:
            self.train(resume_from_checkpoint=str(resume) if resume else None)
        except torch.OutOfMemoryError:
            if not self.too_big:
                raise
        return not self.too_big

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        try:
            return super().training_step(model, inputs, num_items_in_batch)
        except torch.OutOfMemoryError:
            self.too_big = inputs
            raise

    def saved_before_the_step(self) -> Path | None:
        """A checkpoint of the last whole step, after a failure in the one that followed; None if there was none."""
        step, folder = self.state.global_step, Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        self.model.zero_grad()
        self.reporter.back()
        if step and not checkpoints.is_complete(folder):
            self._save_checkpoint(self.model, trial=None)
            self.callback_handler.on_save(self.args, self.state, self.control)
        return folder if step else None

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        outputs = model(**inputs)
        self.reporter.averages.add(outputs)
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        os.makedirs(output_dir, exist_ok=True)
        safetensors.torch.save_model(self.accelerator.unwrap_model(self.model), os.path.join(output_dir, "model.safetensors"))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        module = self.accelerator.unwrap_model(model if model is not None else self.model)
        safetensors.torch.load_model(module, os.path.join(resume_from_checkpoint, "model.safetensors"))


def _micro_batches(job: TrainingJob) -> tuple[int, int]:
    """Examples per forward pass of a process, and forward passes per step."""
    batch, world = job.settings.batch_size, processes.count()
    if batch % world:
        raise UserError(f"{job.name}: batch_size {batch} cannot be divided by {world} processes; choose a multiple")
    share = batch // world
    micro = min(job.settings.micro_batch_size or share, share)
    if share % micro:
        raise UserError(f"{job.name}: a process has {share} of the {batch} examples of a step, which micro_batch_size {micro} does not divide")
    return micro, share // micro
