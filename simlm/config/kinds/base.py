"""What a kind of model declares: its settings, what it reads, and the function that trains it.

A new kind is one file in this folder plus one line in ``__init__.py``; nothing else names kinds.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from simlm.config.base import Block

Untitled = Literal["text", "dash"]
"""How a cross-encoder reads a passage without a title: the text alone, or ``-: text``."""


class ModelBlock(Block):
    """One entry of ``models:``."""

    kind: str
    trainer: ClassVar[str | None] = None
    """``module:function`` that makes the model folder of this kind, or None for systems that have none."""
    made_by: ClassVar[str | None] = "train"
    """Stage that calls ``trainer`` and writes the model's folder, or None for a system without one."""
    runs_by: ClassVar[str | None] = None
    """Stage that writes the runs of the evaluated splits, or None for a model that does not retrieve."""
    acts_as: ClassVar[str | None] = None
    """The kind whose place this one takes in the graph, if that is not its own."""
    pretrained: ClassVar[bool] = False
    """Whether the model is a language model that others start from."""
    encodes: ClassVar[bool] = False
    """Whether the model embeds queries and passages, so that it has an index and can be mined."""
    scores: ClassVar[bool] = False
    """Whether the model reads a query and a passage together, so that it re-ranks and teaches."""
    not_trained: ClassVar[tuple[str, ...]] = ()
    """Fields that do not change the trained weights: how the job runs, and what only matters afterwards."""

    @property
    def role(self) -> str:
        """What the model is to others: its kind, or the kind whose place it takes."""
        return self.acts_as or self.kind

    @property
    def retrieves(self) -> bool:
        """Whether the system has runs, so that it can be evaluated, re-ranked and fused."""
        return self.runs_by is not None

    def initial(self) -> str | None:
        """The name, Hugging Face id or folder the weights start from."""
        return getattr(self, "init", None)

    def reads_models(self) -> dict[str, str]:
        """Field name → model of the graph that must be trained before this one is trained (initial model excepted)."""
        return {}

    def reads_negatives(self) -> str | None:
        """The system whose hard negatives this model trains on."""
        return None

    def reads_lexical_index(self) -> bool:
        """Whether training and use need the BM25 index."""
        return False

    def reads_runs(self) -> dict[str, str]:
        """Field name → system whose runs are needed when this model is evaluated."""
        return {}

    def accepts(self) -> dict[str, tuple[str, ...]]:
        """Field name → kinds that the named model may have."""
        return {}


class Training(ModelBlock):
    """Settings of the optimisation, common to every trained kind."""

    not_trained: ClassVar[tuple[str, ...]] = ("threads", "gpus", "processes", "log_steps", "checkpoint_steps")

    init: str | None = Field(
        None, description="Where the weights start: a model of the graph, a Hugging Face id (`owner/name` or `owner/name@revision`) or a local folder."
    )
    epochs: float | None = Field(None, gt=0, description="Passes over the training examples; give this or `steps`.")
    steps: int | None = Field(None, ge=1, description="Optimiser steps; give this or `epochs`.")
    batch_size: int = Field(64, ge=1, description="Global batch: examples per optimiser step over all processes.")
    micro_batch_size: int | None = Field(
        None, ge=1, description="Most examples that a process forwards at once (gradient accumulation makes up the rest); default: its whole share."
    )
    learning_rate: float = Field(2e-5, gt=0, description="Peak learning rate of AdamW; it decays linearly to 0.")
    warmup_steps: int = Field(0, ge=0, description="Steps of warm-up.")
    warmup_shape: Literal["linear", "logarithmic"] = Field(
        "linear", description="`logarithmic` is what the authors' DeepSpeed configuration does in pre-training."
    )
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    seed: int | None = Field(None, ge=0, lt=2**32, description="Seed of this model; default: the experiment's seed.")
    threads: int = Field(8, ge=1, description="CPU threads asked for; never more than the machine has.")
    gpus: int = Field(0, ge=0, description="GPUs asked for; the same global batch is kept whatever the number.")
    processes: int | None = Field(
        None, ge=1, description="Processes that share the batch; null: one per GPU, or one on a CPU. With GPUs there is always one per GPU."
    )
    checkpoint_steps: int = Field(1000, ge=1, description="Steps between checkpoints; a killed training goes on from the last one.")
    log_steps: int = Field(50, ge=1, description="Steps between points of the loss curve.")

    @model_validator(mode="after")
    def _length(self) -> Training:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of 'epochs' and 'steps'")
        return self
