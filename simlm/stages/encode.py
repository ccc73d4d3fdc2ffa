"""Embed one shard of the corpus with a bi-encoder.

    simlm encode --config config/config.yaml --model distilled --shard 1 --shards 2
    simlm encode --experiment pydocs --model distilled             (the whole corpus, shard after shard)

The vectors are the same bits for any number of shards and processes. A killed run goes on after its last finished block of
passages; a shard that is there already is kept. Several processes (python -m simlm.launch) share a shard, as they share a training. With the
first shard the queries are embedded that will be searched, so that the searches need no model.
"""

from __future__ import annotations

from typing import Annotated

from simlm.context import Context
from simlm.errors import UserError


def encode(
    context: Context,
    name: Annotated[str, "bi-encoder of the graph"],
    shard: Annotated[int | None, "which shard, from 1 (default: all, one after the other)"] = None,
    shards: Annotated[int | None, "number of shards (default: encoding.shards)"] = None,
) -> None:
    """Embed shards and write a record for each."""
    from simlm import hardware, processes
    from simlm.config.graph import searched_splits
    from simlm.corpus.store import CorpusStore
    from simlm.metering import metered
    from simlm.planning.utilisation import known
    from simlm.progress import say
    from simlm.retrieval.encode import encode_shard, shard_rows
    from simlm.retrieval.prepared import prepared_encoder, vectors_of_queries

    shards = context.experiment.encoding_of(name).shards if shards is None else shards
    if shards < 1:
        raise UserError(f"{shards} shards are none; give --shards 1 or more")
    which = range(1, shards + 1) if shard is None else [shard]
    context.require(context.paths.corpus / "manifest.json", context.paths.model(name) / "simlm.json")
    processes.join()
    experiment, paths = context.experiment, context.paths
    store = CorpusStore(paths.corpus)
    for shard in which:
        shard_rows(len(store), shard, shards)
    encoder = prepared_encoder(context, name)
    threads, precision = hardware.granted(experiment.encoding_of(name).threads), encoder.precision
    say(f"Encoding with {name}: {threads} threads, {precision.name} ({precision.reason}), {encoder.device.type}.")
    for shard in which:
        with context.record("encode", name, f"{shard}-of-{shards}") as record, metered(known(context, name, "encoding")) as meter:
            manifest = encode_shard(encoder, store, paths.tokens, paths.shard_manifest(name, shard, shards), shard, shards, experiment.encoding_of(name).dtype)
            record.metrics |= {"passages": manifest["rows"], "passages_per_second": manifest["passages_per_second"]}
            record.notes |= {
                "precision": f"{precision.name}: {precision.reason}",
                "threads": threads,
                "processes": processes.count(),
                "resumed_rows": manifest["resumed_rows"],
            }
            record.say_speed(meter.metrics)
            record.note_caution(encoder.pieces.said)
            record.outputs["manifest"] = paths.shard_manifest(name, shard, shards)
        say(f"Shard {shard} of {shards}: {manifest['rows']:,} passages, {manifest['passages_per_second']:,.0f} passages/s.")
    if 1 in which and processes.is_main():
        for split in searched_splits(experiment, name):
            vectors_of_queries(context, name, store, split, encoder)
