"""Where every file of an experiment lies. The workflow and the commands both ask here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """Files below ``results/<name>``. A stage's manifest is written last, so its existence means that the stage is complete."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.yaml"

    @property
    def inputs(self) -> Path:
        """What was fetched from elsewhere before the first job, with commits and sizes."""
        return self.root / "inputs.json"

    @property
    def corpus(self) -> Path:
        """Folder of the corpus store (manifest: ``corpus/manifest.json``)."""
        return self.root / "corpus"

    @property
    def prepared(self) -> Path:
        """The store as it was read from the source, where ``corpus`` has made queries as well."""
        return self.root / "corpus_without_made_queries"

    @property
    def making(self) -> Path:
        """Queries that a generator has written so far, in parts; gone when the stage has ended."""
        return self.root / "made_queries"

    @property
    def tokenizer(self) -> Path:
        """Folder of the tokenizer (manifest: ``tokenizer/manifest.json``)."""
        return self.root / "tokenizer"

    @property
    def bm25(self) -> Path:
        """Folder of the BM25 index (manifest: ``bm25/manifest.json``)."""
        return self.root / "bm25"

    def model(self, name: str) -> Path:
        """Transformers folder of a trained model; its ``simlm.json`` is written last."""
        return self.root / "models" / name

    def training(self, name: str) -> Path:
        """Checkpoints and training state of a model; never an output of a rule."""
        return self.root / "training" / name

    @property
    def tokens(self) -> Path:
        """Tokens of the passages, a folder per tokenizer and length; a cache that trainings and embeddings share, never an output of a rule."""
        return self.root / "tokens"

    def history(self, name: str) -> Path:
        """Loss, learning rate, gradient norm, throughput and probe per step, one JSON object a line."""
        return self.root / "training" / f"{name}.history.jsonl"

    def embeddings(self, model: str) -> Path:
        """Folder of a model's embedded shards."""
        return self.root / "embeddings" / model

    def shard_manifest(self, model: str, shard: int | str, shards: int | str) -> Path:
        """Manifest of one embedded shard, written after its vectors."""
        return self.embeddings(model) / f"{shard}-of-{shards}.json"

    def index(self, model: str) -> Path:
        """Folder of a model's faiss index (manifest: ``index/<model>/manifest.json``)."""
        return self.root / "index" / model

    @property
    def served(self) -> Path:
        """Folder of the collection that was added to after the evaluation; it has folders like this one's."""
        return self.root / "served"

    def train_run(self, system: str) -> Path:
        """Parquet run of a system for the training queries."""
        return self.root / "runs" / system / "train.parquet"

    def run(self, system: str, split: str) -> Path:
        """TREC run of an evaluated system and split."""
        return self.root / "runs" / system / f"{split}.trec"

    def negatives(self, source: str) -> Path:
        """Parquet list of positives and hard negatives mined from a system."""
        return self.root / "negatives" / f"{source}.parquet"

    def teacher_scores(self, student: str) -> Path:
        """Parquet list of teacher scores for the passages that ``student``'s training will visit."""
        return self.root / "teacher_scores" / f"{student}.parquet"

    def metrics(self, system: str, split: str) -> Path:
        """Averages of one system on one split."""
        return self.root / "evaluation" / system / f"{split}.json"

    def per_query(self, system: str, split: str) -> Path:
        """Per-query values of one system on one split."""
        return self.root / "evaluation" / system / f"{split}.per_query.tsv"

    @property
    def comparisons(self) -> Path:
        """Paired significance tests between the evaluated systems."""
        return self.root / "evaluation" / "comparisons.tsv"

    @property
    def pairs(self) -> Path:
        """Every two evaluated systems against each other, with the settings in which they differ; written with the report."""
        return self.root / "pairs.json"

    @property
    def metrics_table(self) -> Path:
        """The table of all systems, splits and metrics."""
        return self.root / "metrics.tsv"

    @property
    def variants(self) -> Path:
        """Averages over the seeds of each variant, where the experiment has any."""
        return self.root / "variants.tsv"

    @property
    def variant_tests(self) -> Path:
        """Paired tests between all variants."""
        return self.root / "evaluation" / "variant_tests.tsv"

    @property
    def reproduction(self) -> Path:
        """Verdict on every figure that has a published counterpart."""
        return self.root / "reproduction.tsv"

    @property
    def gate(self) -> Path:
        """Empty file that says that no published figure FAILed; only where the gate is enforced."""
        return self.root / ".gate"

    @property
    def report(self) -> Path:
        """The report, one file that opens offline."""
        return self.root / "report.html"

    @property
    def mirror(self) -> Path:
        """What was mirrored to MLflow, with run ids."""
        return self.root / "mlflow.json"

    def record(self, stage: str) -> Path:
        """Record (``run.json``) of one stage, such as ``train.simlm``."""
        return self.root / "stages" / f"{stage}.json"

    def log(self, stage: str) -> Path:
        """Log of one stage."""
        return self.root / "logs" / f"{stage}.log"

    def benchmark(self, stage: str) -> Path:
        """Snakemake's measurements of one stage."""
        return self.root / "benchmarks" / f"{stage}.jsonl"
