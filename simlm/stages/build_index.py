"""Put a model's embedded shards into a faiss index.

    simlm build-index --config config/config.yaml --model distilled

The kind of index is `index.factory` of the configuration, `Flat` (exact) by default. All shards must be there and must have been
embedded with the model and from the corpus that are there now.
"""

from __future__ import annotations

from typing import Annotated

from simlm.context import Context


def build_index(
    context: Context,
    name: Annotated[str, "bi-encoder of the graph"],
    shards: Annotated[int | None, "number of shards (default: encoding.shards)"] = None,
) -> None:
    """Write the index and the record."""
    from simlm.config.inputs import inputs_of
    from simlm.config.jobs import Job
    from simlm.corpus.store import CorpusStore
    from simlm.models.manifest import model_fingerprint
    from simlm.progress import say
    from simlm.retrieval.search import index_for
    from simlm.vectors.shards import Shards

    paths, experiment = context.paths, context.experiment
    count = experiment.encoding_of(name).shards if shards is None else max(1, shards)
    vectors = Shards(paths.embeddings(name), count, model_sha256=model_fingerprint(paths.model(name)), corpus_sha256=CorpusStore(paths.corpus).sha256)
    vectors.verify()
    settings = experiment.index_of(name)
    with context.record("build_index", name, inputs=inputs_of(experiment, paths, Job("build_index", name), count)) as record:
        index = index_for(vectors.ragged, settings)
        manifest = index.build(vectors, paths.index(name), settings, experiment.seed, experiment.encoding_of(name).threads)
        written = sum(file["bytes"] for file in [*([manifest["file"]] if "file" in manifest else []), *manifest.get("files", {}).values()])
        kind = manifest.get("kind", settings.factory)
        record.metrics |= {"vectors": manifest["rows"], "dimension": manifest["dimension"], "bytes": written}
        record.notes["factory"] = kind
        record.outputs["index"] = paths.index(name) / "manifest.json"
    size = f"{written / 2**20:,.1f} MiB"
    say(f"{paths.index(name)}: {manifest.get('vectors', manifest['rows']):,} vectors of {manifest['dimension']} numbers, {size} ({kind}).")
