"""The whole configuration of an experiment, as typed models."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, model_validator

from simlm.config.base import Block
from simlm.config.corpora import Corpus
from simlm.config.embedding import Encoding, Index
from simlm.config.kinds import Model
from simlm.config.kinds.base import System
from simlm.config.kinds.bm25 import LEXICAL, Bm25
from simlm.config.metrics import Metric, depth_of

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
"""Pattern of an experiment's name, which becomes a folder."""


class Tokenizer(Block):
    """One vocabulary for the whole experiment."""

    init: str | None = Field(None, description="Hugging Face id or local folder of a tokenizer; null: train a WordPiece vocabulary on the corpus.")
    vocabulary: int = Field(4096, ge=256, description="Size of a vocabulary trained on the corpus.")
    lowercase: bool = Field(True, description="Lower-case the text of a vocabulary trained on the corpus.")
    split_names: bool = Field(False, description="Cut identifiers at `_`, `.` and changes of case (`read_csv`, `StandardScaler`), for corpora about code.")


class Negatives(Block):
    """Hard negatives: the top passages of a system, minus all positives of the query."""

    relevance: int = Field(1, ge=1, description="Least grade of a training positive.")
    answers: Literal["ignored", "left_out", "positives"] = Field(
        "ignored",
        description="What a passage is that contains an answer to the question, where questions come with answers: `left_out` makes it no negative, "
        "`positives` one more positive.",
    )
    depth: int = Field(200, ge=1, description="Depth of the run that is mined.")
    sample: int = Field(200, ge=1, description="Negatives sampled from it per query.")
    pad_to: int = Field(210, ge=0, description="Lists are filled to this length with random passages that are neither positive nor in the run.")
    drop_above: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Leave candidates out that score at least this share of the query's best-scored positive (0.95 in NV-Retriever, Moreira et al., 2024): "
        "probably right answers that nobody judged. Scores are those of the mined system, of a fusion those of its first part that embeds; null: keep them.",
    )
    padding: Literal["last", "mixed"] = Field(
        "last", description="Place of these in the list: behind the mined ones, or anywhere, as in the authors' code; it matters to `rotation: offset` alone."
    )


class EvaluatedSplit(Block):
    """How a split is judged."""

    relevance: int = Field(1, ge=1, description="Least grade that counts as relevant for MRR, recall and MAP (2 for TREC DL); nDCG uses the grades.")
    mrr_relevance: int | None = Field(None, ge=1, description="Another least grade for MRR alone; default: `relevance`.")


class Evaluate(Block):
    """Which systems are judged, on what, and how they are compared."""

    systems: list[str] = Field(
        min_length=1,
        description="`bm25` or models of the graph, in the order of the tables; each is tested against the baseline and what it builds on in the graph.",
    )
    splits: dict[str, EvaluatedSplit] = Field(min_length=1, description="Splits that are judged.")
    main_split: str = Field(description="Split of the headline figures.")
    main_metric: Metric = Field("RR@10", description="Metric of the headline and of the choices, one of `metrics`.")
    metrics: list[Metric] = Field(
        ["RR@10", "R@50", "R@1000", "nDCG@10", "AP"],
        min_length=1,
        description="ir-measures names, or other usual ones (`MRR@10`, `map`, `ndcg_cut_10`, `R@1k`); the relevance level is put in per split. "
        "`Answer@20`: the share of questions with an answer in the text of one of the first 20 passages. "
        "Left out, those of the default that `depth` allows.",
    )
    baseline: str = Field(LEXICAL, description="System that all others are tested against.")
    depth: int = Field(1000, ge=1, description="Passages per query in the run files.")
    test: Literal["t-test", "randomisation"] = Field("t-test", description="Paired significance test; p-values are Holm-corrected.")
    resamples: int = Field(2000, ge=100, description="Bootstrap samples of the confidence intervals (and draws of the randomisation test).")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Level of the confidence intervals.")

    @model_validator(mode="before")
    @classmethod
    def _default_metrics(cls, values: Any) -> Any:
        """The default has no figure that the runs are too short for."""
        if isinstance(values, dict) and "metrics" not in values and isinstance(depth := values.get("depth"), int):
            values = {**values, "metrics": [name for name in cls.model_fields["metrics"].default if (depth_of(name) or 0) <= depth]}
        return values

    @model_validator(mode="after")
    def _each_once(self) -> Evaluate:
        double = next((name for i, name in enumerate(self.metrics) if name in self.metrics[:i]), None)
        if double is not None:
            raise ValueError(f"metrics: {double} is listed twice, under one name or two; keep one")
        return self


class Gate(Block):
    """Comparison with published figures: OK, OKish or FAIL for every cell that has one (`reproduction.tsv`)."""

    published: str | None = Field(None, description="File of the published figures; null: `config/published.yaml` of this project.")
    enforce: bool = Field(False, description="A FAIL makes the workflow fail, after everything else is written.")


class Tracking(Block):
    """The MLflow mirror."""

    uri: str | None = Field(None, description="MLflow tracking URI, never with a password; null: MLFLOW_TRACKING_URI, or else sqlite in the results folder.")
    experiment: str = Field("simlm", description="MLflow experiment that holds the runs.")
    live: bool = Field(False, description="Also stream losses to MLflow while training; the files are mirrored at the end in any case.")


class Experiment(Block):
    """One configuration file."""

    name: str = Field(pattern=NAME, description="Names the folder below `results`.")
    results: str = Field("results", min_length=1, pattern=r"^[^{}\x00-\x1f]*$", description="Folder of everything computed; its name must not hold braces.")
    seed: int = Field(42, ge=0, lt=2**32, description="All randomness comes from this.")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="Arithmetic of training and encoding; `auto` takes bf16 where the hardware multiplies it faster."
    )
    packing: bool = Field(
        False,
        description="Encoders read a batch as one row of its tokens, without padding; results are the same but for rounding and for what dropout draws. "
        "Expected to pay on accelerators. MPNet, DeBERTa-v2 and late interaction go on reading padding.",
    )
    corpus: Corpus = Field(description="Passages, queries and judgements.")
    tokenizer: Tokenizer = Field(Tokenizer(), description="The vocabulary.")
    bm25: Bm25 = Field(Bm25(), description="Lexical baseline and first source of negatives.")
    negatives: Negatives = Field(Negatives(), description="Mining of hard negatives.")
    models: dict[str, Model] = Field(description="The graph of models, by name; `{}`: BM25 alone.")
    variants: dict[str, list[str]] = Field(
        {},
        description="Evaluated systems that are one configuration, such as those of several seeds, by the name under which they are averaged and "
        "compared with the other variants (`variants.tsv`); `seeds` of a model fills this in.",
    )
    encoding: Encoding = Field(Encoding(), description="Embedding of the corpus.")
    index: Index = Field(Index(), description="The index over the vectors.")
    evaluate: Evaluate = Field(description="Systems, splits and metrics.")
    gate: Gate = Field(Gate(), description="Comparison with published figures.")
    tracking: Tracking = Field(Tracking(), description="MLflow.")

    @model_validator(mode="before")
    @classmethod
    def _blocks_of_models(cls, values: Any) -> Any:
        """What a model's own ``encoding:`` or ``index:`` does not say, the experiment's says."""
        if not isinstance(values, dict) or not isinstance(values.get("models"), dict):
            return values
        models = dict(values["models"])
        for name, model in models.items():
            for block in ("encoding", "index"):
                if isinstance(model, dict) and isinstance(model.get(block), dict) and isinstance(values.get(block), dict):
                    models[name] = model = {**model, block: {**values[block], **model[block]}}
        return {**values, "models": models}

    def encoding_of(self, name: str) -> Encoding:
        """How a model's passages are embedded: its own block, or the experiment's."""
        return getattr(self.system(name), "encoding", None) or self.encoding

    def index_of(self, name: str) -> Index:
        """How a model's vectors are searched: its own block, or the experiment's."""
        return getattr(self.system(name), "index", None) or self.index

    @cached_property
    def systems(self) -> dict[str, System]:
        """Everything that has a name in the graph: BM25, the models, and the parts of models (``joint.retriever``).

        Kept, because every walk of the graph asks for it at every step: a hundred thousand times for the jobs of an ablation.
        """
        found: dict[str, System] = {LEXICAL: self.bm25}
        for name, model in self.models.items():
            found[name] = model
            found |= {f"{name}.{part}": block for part, block in model.parts().items()}
        return found

    def system(self, name: str) -> System:
        """What declares a system: its block, whatever it is.

        Raises
        ------
        KeyError
            If nothing is called so.
        """
        return self.systems[name]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Experiment:
        """A copy with other values, and with systems of its own."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("systems", None)
        return copied
