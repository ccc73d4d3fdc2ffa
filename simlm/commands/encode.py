"""Embed one shard of the corpus with a bi-encoder.

    simlm encode --config config/config.yaml --model distilled --shard 1 --shards 2
    simlm encode --experiment pydocs --model distilled             (the whole corpus, shard after shard)

The vectors are the same bits for any number of shards and processes. A killed run goes on after its last finished block of
passages; a shard that is there already is kept. Several processes (python -m simlm.launch) share a shard, as they share a training. With the
first shard the queries are embedded that will be searched, so that the searches need no model.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from simlm.commands.options import add_experiment_options, load_context, model_of
from simlm.context import Context
from simlm.errors import UserError

if TYPE_CHECKING:
    from simlm.corpus.store import CorpusStore
    from simlm.retrieval.encoder import TextEncoder
    from simlm.retrieval.queries import QueryVectors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment_options(parser)
    parser.add_argument("--model", required=True, metavar="NAME", help="bi-encoder of the graph")
    parser.add_argument("--shard", type=int, metavar="I", help="which shard, from 1 (default: all, one after the other)")
    parser.add_argument("--shards", type=int, metavar="N", help="number of shards (default: encoding.shards)")


def run(arguments: argparse.Namespace) -> None:
    context = load_context(arguments)
    model_of(context, arguments.model, "biencoder")
    shards = context.experiment.encoding_of(arguments.model).shards if arguments.shards is None else arguments.shards
    if shards < 1:
        raise UserError(f"{shards} shards are none; give --shards 1 or more")
    encode(context, arguments.model, [arguments.shard] if arguments.shard is not None else list(range(1, shards + 1)), shards)


def encode(context: Context, name: str, which: list[int], shards: int) -> None:
    """Embed the shards ``which`` and write a record for each."""
    from simlm import hardware, processes
    from simlm.config.stages import settings_of
    from simlm.corpus.store import CorpusStore
    from simlm.progress import say
    from simlm.records.record import StageRecord
    from simlm.retrieval.encode import encode_shard, shard_rows
    from simlm.retrieval.search import planned_runs

    processes.join()
    experiment, paths = context.experiment, context.paths
    store = CorpusStore(paths.corpus)
    for shard in which:
        shard_rows(len(store), shard, shards)
    encoder = prepared_encoder(context, name)
    threads, precision = hardware.granted(experiment.encoding_of(name).threads), encoder.precision
    say(f"Encoding with {name}: {threads} threads, {precision.name} ({precision.reason}), {encoder.device.type}.")
    inputs = {"corpus": paths.corpus / "manifest.json", "model": paths.model(name) / "simlm.json"}
    for shard in which:
        stage = f"encode.{name}.{shard}-of-{shards}"
        with StageRecord(paths.record(stage), stage, settings_of(experiment, "encode", name), inputs) as record:
            manifest = encode_shard(encoder, store, paths.tokens, paths.shard_manifest(name, shard, shards), shard, shards, experiment.encoding_of(name).dtype)
            record.metrics |= {"passages": manifest["rows"], "passages_per_second": manifest["passages_per_second"]}
            record.notes |= {
                "precision": f"{precision.name}: {precision.reason}",
                "threads": threads,
                "processes": processes.count(),
                "resumed_rows": manifest["resumed_rows"],
            }
            record.outputs["manifest"] = paths.shard_manifest(name, shard, shards)
        say(f"Shard {shard} of {shards}: {manifest['rows']:,} passages, {manifest['passages_per_second']:,.0f} passages/s.")
    if 1 in which and processes.is_main():
        for split in dict.fromkeys(split for split, _ in planned_runs(experiment, name)):
            vectors_of_queries(context, name, store, split, encoder)


def vectors_of_queries(context: Context, name: str, store: CorpusStore, split: str, encoder: TextEncoder | None = None) -> QueryVectors:
    """The vectors of a split's queries, as the embedding left them; otherwise they are made now, with ``encoder`` or the model's own."""
    from simlm.retrieval.queries import query_vectors

    experiment, paths = context.experiment, context.paths
    settings = {"batch_size": experiment.encoding_of(name).batch_size, "precision": experiment.precision}
    return query_vectors(paths.embeddings(name), store, split, paths.model(name), settings, lambda: encoder or prepared_encoder(context, name))


def prepared_encoder(context: Context, name: str) -> TextEncoder:
    """The bi-encoder, with torch set up for it."""
    from simlm import hardware
    from simlm.retrieval.encoder import TextEncoder

    hardware.prepare(context.experiment.encoding_of(name).threads)
    return TextEncoder(context.paths.model(name), hardware.choose_precision(context.experiment.precision), context.experiment.encoding_of(name).batch_size)
