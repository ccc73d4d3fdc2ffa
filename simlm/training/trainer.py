"""The one way models are trained here: transformers' Trainer over a seeded schedule, with history and checkpoints."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging as transformers_logging

from simlm import hardware
from simlm.commands.options import Context
from simlm.config.kinds import Training
from simlm.errors import UserError
from simlm.progress import say
from simlm.record import StageRecord
from simlm.training import checkpoints
from simlm.training.checkpoint_files import ClearCheckpointErrors
from simlm.training.history import History
from simlm.training.schedule import Schedule, learning_rate_factor, total_steps


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
        """Stage key: the identity of the checkpoints and of the model."""
        return self.record.key

    @property
    def is_main(self) -> bool:
        """Whether this process writes files (rank 0 under torchrun)."""
        return int(os.environ.get("RANK", "0")) == 0


def start_job(context: Context, name: str, inputs: dict[str, Path]) -> TrainingJob:
    """Seed everything, choose the arithmetic and open the stage's record.

    ``inputs`` are the files whose digests, with the settings, make the stage key.
    """
    settings = context.experiment.models[name]
    assert isinstance(settings, Training)
    threads = hardware.prepare(settings.threads)
    precision = hardware.choose_precision(context.experiment.precision)
    seed = settings.seed if settings.seed is not None else context.experiment.seed
    torch.manual_seed(seed)
    stage = f"train.{name}"
    block = settings.model_dump(mode="json", exclude=set(settings.not_trained))
    record = StageRecord(context.paths.record(stage), stage, {**block, "seed": seed, "precision": precision.name}, inputs)
    record.notes |= {"precision": f"{precision.name}: {precision.reason}", "threads": threads, **_commits(settings)}
    say(f"Training {name} ({settings.kind}) with {threads} threads in {precision.name} ({precision.reason}).")
    return TrainingJob(context, name, settings, seed, precision, threads, record)


def _commits(settings: Training) -> dict[str, dict[str, str]]:
    """Commits of the published models that a training reads; no entry if it reads none."""
    from simlm.config.remote import is_hub_id
    from simlm.hub import commit_of, fetch

    names = [name for name in (settings.initial(), *settings.reads_models().values()) if name and is_hub_id(name)]
    return {"published_models": {name: commit_of(fetch(name, "model")) for name in names}} if names else {}


def fit(
    job: TrainingJob,
    module: nn.Module,
    examples: int,
    make: Callable[[int, int], Any],
    collate: Callable[[list[Any]], dict[str, Any]],
    *,
    evaluate: Callable[[], dict[str, float]] | None = None,
    evaluate_every: int | None = None,
) -> int:
    """Train ``module`` in place; returns the number of optimiser steps.

    Parameters
    ----------
    module
        Called with the collated batch as keywords; returns a mapping with the scalar ``loss``. Other scalars of
        the mapping are averaged into the history; ``tokens`` is summed into a rate instead.
    examples, make, collate
        See :class:`~simlm.training.schedule.Schedule`.
    evaluate
        Returns numbers for the history; called every ``evaluate_every`` steps and at the end, in eval mode,
        without gradients, and without touching the random state of the training.

    Raises
    ------
    UserError
        If there is nothing to train on, the batch cannot be divided, or the loss is not finite.
    """
    if examples == 0:
        raise UserError(f"{job.name}: there is not a single training example; check the counts of the stage that made them in its log")
    settings, folder = job.settings, job.context.paths.training(job.name)
    steps = total_steps(settings, examples)
    if steps <= settings.warmup_steps:
        job.record.caution(
            f"{job.name} ends inside its warm-up: {steps:,} steps ({examples:,} examples, batch_size {settings.batch_size}) and {settings.warmup_steps:,} of "
            f"warm-up, so that learning_rate {settings.learning_rate:g} is never reached; give more epochs, a smaller batch_size or a shorter warm-up"
        )
    micro, accumulation = _micro_batches(job)
    resume = checkpoints.claim(folder, job.key) if job.is_main else _newest(folder)
    history = History(job.context.paths.history(job.name), int(resume.name.split("-")[1]) if resume else 0) if job.is_main else None
    transformers_logging.set_verbosity_error()
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch_fused",
        train_sampling_strategy="sequential",
        logging_steps=min(settings.log_steps, steps),
        logging_nan_inf_filter=False,
        save_steps=settings.checkpoint_steps,
        save_total_limit=2,
        bf16=job.precision.bf16,
        use_cpu=not torch.cuda.is_available(),
        ddp_backend="gloo" if not torch.cuda.is_available() and "WORLD_SIZE" in os.environ else None,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        seed=job.seed,
        data_seed=job.seed,
    )
    reporter = _Reporter(job, history, steps, evaluate, evaluate_every)
    trainer = _Trainer(
        model=module,
        args=arguments,
        train_dataset=Schedule(examples, steps * settings.batch_size, job.seed, make),
        data_collator=collate,
        callbacks=[reporter],
    )
    trainer.reporter = reporter
    trainer.remove_callback(next(type(c) for c in trainer.callback_handler.callbacks if type(c).__name__ in ("PrinterCallback", "ProgressCallback")))
    start = time.monotonic()
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    job.record.metrics |= {"steps": steps, "train_seconds": round(time.monotonic() - start, 2), "examples": examples, **reporter.last}
    return steps


class _Trainer(ClearCheckpointErrors, Trainer):
    """Trainer with our learning-rate shapes, averaged extra losses, and checkpoints of modules with tied weights."""

    reporter: _Reporter

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        # Our modules average over their micro-batch, so the Trainer divides by the accumulation.
        self.model_accepts_loss_kwargs = False

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        if self.lr_scheduler is None:
            settings = self.reporter.job.settings
            factor = functools.partial(learning_rate_factor, warmup=settings.warmup_steps, total=num_training_steps, shape=settings.warmup_shape)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        outputs = model(**inputs)
        self.reporter.count(outputs)
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        os.makedirs(output_dir, exist_ok=True)
        safetensors.torch.save_model(self.accelerator.unwrap_model(self.model), os.path.join(output_dir, "model.safetensors"))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        module = self.accelerator.unwrap_model(model if model is not None else self.model)
        safetensors.torch.load_model(module, os.path.join(resume_from_checkpoint, "model.safetensors"))


class _Reporter(TrainerCallback):
    """Writes the history, prints readable lines, runs the evaluation, stops at a loss that is not finite."""

    def __init__(self, job: TrainingJob, history: History | None, steps: int, evaluate: Callable[[], dict[str, float]] | None, every: int | None) -> None:
        self.job, self.history, self.steps = job, history, steps
        self.evaluate, self.every = evaluate, every
        self.last: dict[str, float] = {}
        self.live = _live_mirror(job)
        self._reset()

    def _reset(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.calls, self.tokens, self.since = 0, 0, time.monotonic()

    def count(self, outputs: Any) -> None:
        """Add up the extra values of one forward pass."""
        self.calls += 1
        for name, value in outputs.items():
            if name == "tokens":
                self.tokens += int(value)
            elif name != "loss":
                self.sums[name] = self.sums.get(name, 0) + value.detach()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs or self.calls == 0:
            return
        if not math.isfinite(float(logs["loss"])):
            raise UserError(
                f"{self.job.name}: the loss is {logs['loss']} at step {state.global_step}; lower learning_rate, lengthen warmup_steps or set precision: fp32"
            )
        elapsed = max(1e-9, time.monotonic() - self.since)
        values = {"loss": float(logs["loss"]), "learning_rate": logs.get("learning_rate"), "grad_norm": float(logs.get("grad_norm") or 0.0)}
        values |= {name: float(total / self.calls) for name, total in self.sums.items()}
        values["examples_per_second"] = round(self.job.settings.batch_size * args.logging_steps / elapsed, 1)
        if self.tokens:
            world = int(os.environ.get("WORLD_SIZE", "1"))
            values["tokens_per_second"] = round(self.tokens * world / elapsed, 1)
        self._write(state.global_step, values)
        self._reset()

    def on_step_end(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **kwargs: Any) -> None:
        if self.evaluate is None or model is None:
            return
        if state.global_step == self.steps or (self.every and state.global_step % self.every == 0):
            before = time.monotonic()
            training = model.training
            model.eval()
            with torch.random.fork_rng(devices=[] if not torch.cuda.is_available() else None), torch.inference_mode():
                values = self.evaluate()
            model.train(training)
            self.since += time.monotonic() - before
            self._write(state.global_step, values)

    def _write(self, step: int, values: dict[str, Any]) -> None:
        if self.history is None:
            return
        self.last |= {name: value for name, value in values.items() if value is not None}
        self.history.add(step, values)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if value is not None)
        say(f"{self.job.name} {step}/{self.steps} ({step / self.steps:.0%})  {shown}")
        if self.live is not None:
            self.live.log(step, values)


def _live_mirror(job: TrainingJob) -> Any:
    if not job.context.experiment.tracking.live or not job.is_main:
        return None
    from simlm.tracking.live import LiveMirror

    return LiveMirror(job.context, f"train.{job.name}", job.key)


def _micro_batches(job: TrainingJob) -> tuple[int, int]:
    """Examples per forward pass of a process, and forward passes per step."""
    batch, world = job.settings.batch_size, int(os.environ.get("WORLD_SIZE", "1"))
    if batch % world:
        raise UserError(f"{job.name}: batch_size {batch} cannot be divided by {world} processes; choose a multiple")
    share = batch // world
    micro = min(job.settings.micro_batch_size or share, share)
    if share % micro:
        raise UserError(f"{job.name}: a process has {share} of the {batch} examples of a step, which micro_batch_size {micro} does not divide")
    return micro, share // micro


def _newest(folder: Path) -> Path | None:
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    return found[-1] if found else None
