"""Put a model's embedded shards into a faiss index.

    simlm build-index --config config/config.yaml --model distilled

The kind of index is `index.factory` of the configuration, `Flat` (exact) by default. All shards must be there and must have been
embedded with the model and from the corpus that are there now.
"""

from __future__ import annotations

import argparse

from simlm.commands.options import add_experiment_options, load_context, model_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment_options(parser)
    parser.add_argument("--model", required=True, metavar="NAME", help="bi-encoder of the graph")
    parser.add_argument("--shards", type=int, metavar="N", help="number of shards (default: encoding.shards)")


def run(arguments: argparse.Namespace) -> None:
    context = load_context(arguments)
    name = arguments.model
    model_of(context, name, "biencoder")
    from simlm.config.stages import settings_of
    from simlm.corpus.store import CorpusStore
    from simlm.models.folder import model_fingerprint
    from simlm.progress import say
    from simlm.records.record import StageRecord
    from simlm.retrieval.index import build_index
    from simlm.retrieval.shards import Shards

    paths, experiment = context.paths, context.experiment
    count = experiment.encoding_of(name).shards if arguments.shards is None else max(1, arguments.shards)
    shards = Shards(paths.embeddings(name), count, model_sha256=model_fingerprint(paths.model(name)), corpus_sha256=CorpusStore(paths.corpus).sha256)
    shards.verify()
    stage, settings = f"build_index.{name}", experiment.index_of(name)
    inputs = {f"shard {shard}": paths.shard_manifest(name, shard, count) for shard in range(1, count + 1)}
    with StageRecord(paths.record(stage), stage, settings_of(experiment, "build_index", name), inputs) as record:
        manifest = build_index(
            shards,
            paths.index(name),
            settings.factory,
            train_vectors=settings.train_vectors,
            nprobe=settings.nprobe,
            seed=experiment.seed,
            threads=experiment.encoding_of(name).threads,
        )
        record.metrics |= {"vectors": manifest["rows"], "dimension": manifest["dimension"], "bytes": manifest["file"]["bytes"]}
        record.notes["factory"] = settings.factory
        record.outputs["index"] = paths.index(name) / "manifest.json"
    size = f"{manifest['file']['bytes'] / 2**20:,.1f} MiB"
    say(f"{paths.index(name)}: {manifest['rows']:,} vectors of {manifest['dimension']} numbers, {size} ({settings.factory}).")
