"""What every system of an experiment declares about itself: BM25, the models of the graph, and the parts of a model.

Everything else asks these attributes and methods and never the name of a kind, so that a new kind is a file of its own
(``docs/kinds.md``). The roles that kinds have in common are in :mod:`simlm.config.kinds.roles`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from simlm.config.base import Block

Untitled = Literal["text", "dash"]
"""How a cross-encoder reads a passage without a title: the text alone, or ``-: text``."""

Origin = Literal["lexical", "trained", "released"]
"""Where a system comes from: BM25, a training here, or published weights; ``config/published.yaml`` has tolerances for each."""

ROLES = {
    "generates": "a masked language model",
    "pretrained": "a pre-trained language model",
    "encodes": "a retriever that embeds texts",
    "scores": "a re-ranker",
    "teaches": "a file of scores",
    "mined": "a system whose runs can be mined",
    "retrieves": "a system that retrieves",
}
"""What a system can be to others, by attribute of :class:`System`, in the words of an error message; the most telling first."""


class Card(NamedTuple):
    """What the card of a model says of its kind; ``usage`` is Markdown in which ``{query}``, ``{passage}`` and ``{pair}`` stand for lengths in tokens."""

    sentence: str
    task: str = "feature-extraction"
    tags: tuple[str, ...] = ("simlm",)
    library: str = "transformers"
    usage: str = ""
    method: str = "SimLM, arXiv 2207.02578"


class System(Block):
    """What has a name in an experiment: what it is to others, what it reads, and how it is described."""

    noun: ClassVar[str] = "system"
    """What it is, in at most three words."""
    shape: ClassVar[tuple[str, str]] = ("[", "]")
    """Brackets of its box in a mermaid diagram."""

    origin: ClassVar[Origin] = "trained"
    """Where it comes from, which decides how closely it must reproduce a published figure."""

    format: ClassVar[str | None] = None
    """What ``simlm.json`` calls the folder: kinds whose folders are opened in the same way share it. None without a folder."""
    trainer: ClassVar[str | None] = None
    """``module:function`` that makes the model folder of this kind, or None for systems that have none."""
    made_by: ClassVar[str | None] = None
    """Stage that makes the system (for a model: calls ``trainer`` and writes its folder), or None where only runs are written."""
    runs_by: ClassVar[str | None] = None
    """Stage that writes the runs of the evaluated splits, or None for a model that does not retrieve."""

    pretrained: ClassVar[bool] = False
    """Whether the model is a language model that others start from."""
    generates: ClassVar[bool] = False
    """Whether it is a masked language model whose predictions can replace tokens."""
    encodes: ClassVar[bool] = False
    """Whether the model embeds queries and passages, so that it has an index and others can start from it."""
    scores: ClassVar[bool] = False
    """Whether the model reads a query and a passage together, so that it re-ranks and teaches."""
    teaches: ClassVar[bool] = False
    """Whether it hands on scores from elsewhere (:meth:`reads_files`), which can be distilled as those of a model that ``scores`` can."""
    looked_at: ClassVar[str] = ""
    """What the check has read of the files (:meth:`reads_files`), in words."""
    mined: ClassVar[bool] = False
    """Whether it searches the training queries as well, so that hard negatives can be mined from it."""

    teacher_scores_all: ClassVar[bool] = False
    """Whether its teacher scores all listed passages, or only those that its training visits."""
    learns: ClassVar[bool] = False
    """Whether it chooses something by the training queries' runs of the systems whose runs it reads (a fusion its weights)."""

    not_trained: ClassVar[tuple[str, ...]] = ()
    """Fields that do not change the trained weights: how the job runs, and what only matters afterwards."""
    how_not_what: ClassVar[tuple[str, ...]] = ()
    """Fields that change no result at all; those of ``not_trained`` that only say how a job runs are among them."""
    outside: ClassVar[tuple[str, ...]] = ("init",)
    """Fields that may also name a Hugging Face id or a local folder."""
    compared_by: ClassVar[tuple[str, ...]] = ()
    """Fields that tell two systems of one role apart as steps of a method; fewer differences are closer relatives."""

    @property
    def retrieves(self) -> bool:
        """Whether the system has runs, so that it can be evaluated, re-ranked and fused."""
        return self.runs_by is not None

    @property
    def style(self) -> str:
        """The most telling role (a key of :data:`ROLES`), which colours the system in pictures."""
        return next((role for role in ROLES if getattr(self, role)), "none")

    def initial(self) -> str | None:
        """The name, Hugging Face id or folder the weights start from."""
        return getattr(self, "init", None)

    def weights_from(self) -> str | None:
        """What its weights come from, which decides its shape: what it starts from, or what the training of all parts starts this one from."""
        return self.initial()

    def reads_models(self) -> dict[str, str]:
        """Field name → model that must be trained before this one is trained (initial model excepted)."""
        return {}

    def reads_negatives(self) -> str | None:
        """The system whose hard negatives this model trains on."""
        return None

    def mined_from(self) -> dict[str, str]:
        """Field name → system, for every list of hard negatives that this model trains on."""
        return {"negatives": source} if (source := self.reads_negatives()) else {}

    def reads_lexical_index(self) -> bool:
        """Whether training and use need the BM25 index."""
        return False

    def reads_titles(self) -> bool:
        """Whether it reads the passages' titles, where they have any."""
        return True

    def reads_runs(self) -> dict[str, str]:
        """Field name → system whose runs are needed when this one is evaluated."""
        return {}

    def reads_splits(self) -> dict[str, str]:
        """Field (nested ones with dots) → split of the corpus that is read beside ``train``."""
        return {}

    def reads_files(self) -> dict[str, Path]:
        """Name → file outside the experiment that stands in the place of a model folder; a change of it reruns what reads the system."""
        return {}

    def mistakes(self) -> Iterator[tuple[str, str]]:
        """Field and what is wrong with it, where files at hand show it before anything runs."""
        yield from ()

    def accepts(self) -> dict[str, tuple[str, ...]]:
        """Field name → roles (keys of :data:`ROLES`) of which the named system must have one."""
        return {}

    def builds_on(self) -> list[str]:
        """Systems that this one improves on when they are evaluated as well, the nearest first; it is compared with them."""
        return list(dict.fromkeys(self.reads_runs().values()))

    def about(self) -> str:
        """One line on what it is, for the table of results."""
        return self.noun

    def change(self, against: str, other: System, systems: Mapping[str, System]) -> str:
        """What is new in comparison with the system ``other``, called ``against``, in words; ``systems`` are all of the experiment."""
        return f"{self.noun} instead of {other.noun}"

    def shortfall(self, name: str, against: str) -> str:
        """Usual reason, and what to set, where this system, called ``name``, turns out worse than ``against``, which it should be better than."""
        return f"look at the settings of models.{name}"

    def card(self, said: Mapping[str, Any]) -> Card:
        """What the card beside the weights says of the kind; ``said`` is what ``simlm.json`` says of how the model reads."""
        return Card(f"A model of kind {self.kind}.")

    @property
    def labelled(self) -> float:
        """Logits over the vocabulary that a training step keeps, per token of its input."""
        return 0.0

    @property
    def texts(self) -> int:
        """Texts of a training example whose activations are kept for the backward pass."""
        return 1

    @property
    def decoding_layers(self) -> int:
        """Layers that are trained beside those of the model's own shape."""
        return 0

    def operations(self, work: Any, name: str) -> float | None:
        """Floating-point operations of all of its training, for ``simlm plan``; None: as many as masked language modelling takes.

        ``work`` knows the size of the collection, lengths of texts and shapes of models (:class:`simlm.planning.work.Workload`);
        a backward pass counts as two forward passes.
        """
        return None


class ModelBlock(System):
    """One entry of ``models:``."""

    kind: str
    made_by: ClassVar[str | None] = "train"

    def parts(self) -> dict[str, System]:
        """Name → part, for a model that writes several folders: ``joint`` with a part ``retriever`` has ``models/joint.retriever``.

        A part is a system of its own, ``joint.retriever`` in the rest of the graph; the model itself has no folder then. All
        parts come from one training: one rule, one record.
        """
        return {}


RESOURCES = ("threads", "gpus", "processes", "checkpoint_steps", "checkpoint_minutes", "log_steps")
"""Settings that say where and how a job runs, not what it computes."""


class Training(ModelBlock):
    """Settings of the optimisation, common to every trained kind."""

    not_trained: ClassVar[tuple[str, ...]] = (*RESOURCES, "seeds")
    how_not_what: ClassVar[tuple[str, ...]] = (*RESOURCES, "micro_batch_size")

    init: str | None = Field(
        None, description="Where the weights start: a model of the graph, a Hugging Face id (`owner/name` or `owner/name@revision`) or a local folder."
    )
    epochs: float | None = Field(None, gt=0, description="Passes over the training examples; give this or `steps`.")
    steps: int | None = Field(None, ge=1, description="Optimiser steps; give this or `epochs`.")
    batch_size: int = Field(64, ge=1, description="Global batch: examples per optimiser step over all processes.")
    micro_batch_size: int | None = Field(
        None, ge=1, description="Most examples that a process forwards at once (gradient accumulation makes up the rest); default: its whole share."
    )
    learning_rate: float = Field(2e-5, gt=0, description="Peak learning rate of AdamW.")
    decay: Literal["linear", "none"] = Field("linear", description="How the learning rate falls after the warm-up: `linear` to 0, or not at all.")
    warmup_steps: int = Field(0, ge=0, description="Steps of warm-up.")
    warmup_shape: Literal["linear", "logarithmic"] = Field(
        "linear", description="`logarithmic` is what the authors' DeepSpeed configuration does in all trainings."
    )
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    seed: int | None = Field(None, ge=0, lt=2**32, description="Seed of this model; default: the experiment's seed.")
    seeds: list[int] | None = Field(
        None,
        min_length=1,
        description="Train the model once with each of these seeds, and all that is built on it: `name-s1`, `name-s2` …, averaged as a variant in the tables.",
        examples=[[1, 2, 3]],
    )
    threads: int = Field(8, ge=1, description="CPU threads asked for; never more than the machine has.")
    gpus: int = Field(0, ge=0, description="GPUs asked for; the same global batch is kept whatever the number.")
    processes: int | None = Field(
        None, ge=1, description="Processes that share the batch; null: one per GPU, or one on a CPU. With GPUs there is always one per GPU."
    )
    checkpoint_steps: int = Field(1000, ge=1, description="Steps between checkpoints; a killed training goes on from the last one.")
    checkpoint_minutes: float = Field(5, gt=0, description="Minutes after which there is a checkpoint in any case; an interrupted training leaves one as well.")
    log_steps: int = Field(50, ge=1, description="Steps between points of the loss curve; fewer where a training would have less than 20 points.")

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, seeds: list[int] | None) -> list[int] | None:
        if seeds and (len(set(seeds)) < len(seeds) or not all(0 <= seed < 2**32 for seed in seeds)):
            raise ValueError("name each seed once, as a number from 0 to 2^32 - 1")
        return seeds

    @model_validator(mode="after")
    def _one_or_several(self) -> Training:
        if self.seeds is not None and self.seed is not None:
            raise ValueError("give 'seed' or 'seeds', not both")
        return self

    @model_validator(mode="after")
    def _length(self) -> Training:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of 'epochs' and 'steps'")
        return self
