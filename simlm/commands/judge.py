"""Judge a trained or published retriever on many collections, BM25 beside it: one table, and each result as MTEB keeps it.

    simlm judge --model results/pydocs/models/distilled --collections beir/nfcorpus beir/scifact
    simlm judge --model sentence-transformers/all-MiniLM-L6-v2 --collections data/mine BeIR/nfcorpus --output results/minilm

A collection is a folder in BEIR's layout, an id of ir_datasets, or a data set of Hugging Face. Each becomes an experiment of its own below
the output, whose stages are those of the workflow: what is done is not done again, and simlm search, compare and summary read it. One
collection that fails does not lose the others, and the exit code says so.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlm.commands.options import positive

if TYPE_CHECKING:
    from simlm.config.jobs import Job
    from simlm.context import Context
    from simlm.judging.table import Judged


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``simlm judge``."""
    parser.add_argument("--model", required=True, metavar="MODEL", help="a model folder or a Hugging Face id")
    parser.add_argument("--collections", nargs="+", required=True, metavar="NAME", help="folders, ids of ir_datasets, or data sets of Hugging Face")
    parser.add_argument("--split", default="test", metavar="SPLIT", help="judged split of each (default: %(default)s)")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where experiments and tables go (default: results/judged-MODEL)")
    parser.add_argument("--batch-size", type=positive, default=128, metavar="N", help="texts per forward pass (default: %(default)s)")
    parser.add_argument("--threads", type=positive, metavar="N", help="threads (default: all cores)")


def run(arguments: argparse.Namespace) -> None:
    """Judge collection after collection, then print the table."""
    from simlm.errors import UserError
    from simlm.hardware import available_cores
    from simlm.judging.collections import kind_taking_over, slug, system_name
    from simlm.judging.table import write_tables
    from simlm.models.weights import folder_of
    from simlm.progress import say
    from simlm.retrieval.opened import embedder_of

    doubled = {slug(name) for name in arguments.collections}
    if len(doubled) < len(arguments.collections):
        raise UserError("a collection is named twice; name each once")
    kind = kind_taking_over(embedder_of(folder_of(arguments.model)))
    if kind is None:
        raise UserError(f"{arguments.model} is of a kind that is never taken over into another experiment; name a model that embeds as published ones do")
    output = arguments.output or Path("results") / f"judged-{system_name(arguments.model)}"
    encoding = {"batch_size": arguments.batch_size, "threads": arguments.threads or available_cores()}
    judged, failed = [], {}
    for number, name in enumerate(arguments.collections, 1):
        say(f"Collection {number} of {len(arguments.collections)}: {name}")
        try:
            judged.append(_judge(name, arguments.model, arguments.split, output, kind, encoding))
        except (UserError, OSError) as error:
            failed[name] = str(error)
            say(f"{name} is left out: {error}")
    if judged:
        print(write_tables(judged, output))
        say(f"Written to {output / 'judged.md'}, judged.tsv and mteb/.")
    if failed:
        first = next(iter(failed))
        raise UserError(f"{len(failed)} of {len(arguments.collections)} collections failed, the first ({first}): {failed[first]}")


def _judge(collection: str, model: str, split: str, output: Path, kind: str, encoding: dict[str, Any]) -> Judged:
    """Run what is missing of the experiment of one collection."""
    from simlm.config.jobs import jobs
    from simlm.config.load import resolved, validate
    from simlm.context import Context
    from simlm.files import write_text
    from simlm.judging.collections import experiment_of, system_name
    from simlm.judging.table import Judged
    from simlm.paths import Paths
    from simlm.progress import say

    experiment = validate(experiment_of(collection, model, split, output, kind, encoding))
    context = Context(experiment, Paths(output / experiment.name))
    new = not context.paths.root.exists()
    write_text(context.paths.config, resolved(experiment))
    try:
        for job in jobs(experiment):
            if not _is_done(context, job):
                say(f"{collection}: {job.label}")
                _run(context, job)
    except BaseException:
        if new and not any(context.paths.root.glob("stages/*.json")):
            shutil.rmtree(context.paths.root)  # not even the collection could be read
        raise
    return Judged(collection, context, system_name(model))


def _is_done(context: Context, job: Job) -> bool:
    """Whether the record of a job says what the job would, and what it wrote is there."""
    from simlm.config.belonging import misfits
    from simlm.config.inputs import outputs_of
    from simlm.errors import UserError

    experiment, paths = context.experiment, context.paths
    made = outputs_of(experiment, paths, job)
    if not paths.record(job.label).exists() or not all(file.exists() for file in made) or misfits(experiment, paths, only=[job]):
        return False
    try:
        context.require_belonging(job.stage, job.name, job.part, files=[*made, paths.record(job.label)])
    except UserError:
        return False
    return True


def _run(context: Context, job: Job) -> None:
    """Call a stage as its command does."""
    from simlm.commands.stage import StageCommand

    command = StageCommand(importlib.import_module(f"simlm.stages.{job.stage}"))
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.run(parser.parse_args([*shlex.split(job.command)[2:], "--config", str(context.paths.config)]))
