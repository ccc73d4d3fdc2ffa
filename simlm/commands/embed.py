"""Vectors of new texts, with a model of an experiment, a model folder, or a published model.

    simlm embed new.jsonl --experiment pydocs --model distilled --output new-vectors
    simlm embed queries.tsv --side query --model results/pydocs/models/distilled --output queries.npy
    simlm embed - --model sentence-transformers/all-MiniLM-L6-v2 --output notes.parquet

The file holds JSON lines, TSV, CSV or Parquet with an id, a text and perhaps a title each, or (.txt) a text a line. The output is a folder
of vectors as an experiment keeps them, with ids.txt; or a .npy file with its .ids.txt; or Parquet with the columns docid (of queries: query_id)
and vector. Order and ids are those of the file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from simlm.commands.options import add_experiment_options, load_context, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``simlm embed``."""
    parser.add_argument("file", metavar="FILE", help="the texts, or - for what is piped in (JSON lines, or a text a line)")
    parser.add_argument("--model", required=True, metavar="MODEL", help="model of the experiment that is named; without one a folder or a Hugging Face id")
    add_experiment_options(parser)
    parser.add_argument("--side", choices=("passage", "query"), default="passage", help="how the texts are read (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="PLACE", help="a folder, or a file that ends in .npy or .parquet")
    parser.add_argument("--dtype", choices=("fp32", "fp16"), help="numbers of a folder or .npy (default: the experiment's, or fp32)")
    parser.add_argument("--batch-size", type=positive, metavar="N", help="texts per forward pass (default: the experiment's, or 128)")
    parser.add_argument("--threads", type=positive, metavar="N", help="threads (default: the experiment's, or all cores)")


def run(arguments: argparse.Namespace) -> None:
    """Open the model, embed, write."""
    from simlm.corpus.texts import as_file
    from simlm.files import require_new
    from simlm.progress import say

    require_new(arguments.output)
    encoder, dtype = _model(arguments)
    from simlm.retrieval.embed_texts import embed_file

    with as_file(arguments.file) as file:
        rows = embed_file(encoder, file, arguments.side, arguments.output, dtype)
    many = {"passage": "passages", "query": "queries"}[arguments.side]
    say(f"{arguments.output}: vectors of {rows:,} {many}, {encoder.dimension} numbers{' a token' if encoder.ragged else ''}.")


def _model(arguments: argparse.Namespace):
    """What embeds, and the type of its numbers."""
    from simlm import hardware
    from simlm.errors import UserError, nearest

    if not (arguments.experiment or arguments.config):
        from simlm.retrieval.opened import open_embedder

        hardware.prepare(arguments.threads or hardware.available_cores())
        return open_embedder(arguments.model, hardware.choose_precision("auto"), arguments.batch_size or 128), arguments.dtype or "fp32"
    from simlm.retrieval.prepared import open_encoder

    context = load_context(arguments)
    experiment, name = context.experiment, arguments.model
    models = [one for one in experiment.systems if experiment.system(one).encodes]
    if name not in models:
        raise UserError(f"'{experiment.name}' has no model '{name}' that embeds{nearest(name, models)} (there are {', '.join(models)})")
    context.require(context.paths.model(name) / "simlm.json")
    settings = experiment.encoding_of(name)
    hardware.prepare(arguments.threads or settings.threads)
    return open_encoder(context, name, hardware.choose_precision(experiment.precision), arguments.batch_size), arguments.dtype or settings.dtype
