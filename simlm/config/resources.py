"""What a job asks the machine for: threads, GPUs and processes. Rules ask Snakemake for it, the plan foretells with it."""

from __future__ import annotations

from typing import NamedTuple

from simlm.config.experiment import Experiment
from simlm.config.jobs import Job

TWO = ("search_bm25", "evaluate")
"""Stages without a model that work in two threads or processes."""


class Asked(NamedTuple):
    """What a job asks for.

    Attributes
    ----------
    threads
        CPU threads, of all its processes together.
    gpus, processes
        GPUs, and processes that share the job.
    """

    threads: int = 1
    gpus: int = 0
    processes: int = 1


def asked(experiment: Experiment, job: Job) -> Asked:
    """Threads, GPUs and processes of a job, by its stage and the settings of its system."""
    stage, name, _ = job
    if stage in ("encode", "build_index", "search_index"):
        block = experiment.encoding_of(str(name))
        if stage == "encode":
            return _shared(block)
        index, ragged = experiment.index_of(str(name)), experiment.system(str(name)).ragged
        # Only an exact index is searched on a GPU, and only centroids are sought on one; more threads would wait for a training beside it.
        exact = index.residual is not None and stage == "build_index" if ragged else index.factory == "Flat" and stage == "search_index"
        return Asked(block.threads, block.gpus if exact else 0)
    if stage == "train":
        return _shared(experiment.system(str(name)))
    if stage in ("score_teacher", "rerank"):
        block = experiment.system(str(name))
        return Asked(block.threads, min(1, block.gpus))
    if stage == "prepare_corpus":
        # Docstrings are parsed in two processes; every other source is read in one.
        return Asked(2 if experiment.corpus.source == "python_docs" else 1)
    if stage == "make_queries" and experiment.corpus.made_queries and (generator := experiment.corpus.made_queries.generator):
        return Asked(generator.threads, generator.gpus)
    if stage == "train_tokenizer":
        return Asked(1 if experiment.tokenizer.init else 2)
    return Asked(2 if stage in TWO else 1)


def _shared(block) -> Asked:
    """A job whose processes share the work: it has no fewer threads than processes."""
    processes = block.processes or 1
    return Asked(max(block.threads, processes), block.gpus, processes)
