"""Search splits with a bi-encoder's index and write the runs.

    simlm search-index --config config/config.yaml --model retriever1
    simlm search-index --config config/config.yaml --model retriever1 --splits train

The judged splits give TREC runs to `evaluate.depth`; `--splits train` gives the Parquet run to `negatives.depth` from which negatives
are mined. --from-shards searches the stored vectors one block after the other instead of the index: exact, and in little memory. With a
GPU an exact index (`Flat`) is searched that way in any case.
"""

from __future__ import annotations

from typing import Annotated

from simlm.context import Context


def search_index(
    context: Context,
    name: Annotated[str, "bi-encoder of the graph"],
    splits: Annotated[list[str] | None, "splits to search; `train` alone: the run to be mined (default: the judged splits)"] = None,
    from_shards: Annotated[bool, "search the embedded shards themselves: exact, in the memory of a block of vectors"] = False,
) -> None:
    """Search and write the runs and the record."""
    from simlm import hardware
    from simlm.config.inputs import inputs_of
    from simlm.config.jobs import Job, runs_made, shards_of
    from simlm.corpus.store import CorpusStore
    from simlm.indexes.base import Place
    from simlm.indexes.faiss_index import faiss_threads
    from simlm.models.manifest import model_fingerprint
    from simlm.progress import say
    from simlm.retrieval.prepared import vectors_of_queries
    from simlm.retrieval.search import index_for, search_split
    from simlm.runs.found import Found
    from simlm.runs.made import MadeRun

    experiment, paths = context.experiment, context.paths
    part = "+".join(splits) if splits else None
    plan = runs_made(experiment, part)
    store = CorpusStore(paths.corpus)
    for split, _ in plan:
        store.queries(split)  # an unknown split is refused before anything is searched
    threads, device = hardware.granted(experiment.encoding_of(name).threads), hardware.gpu()
    settings, shards = experiment.index_of(name), shards_of(experiment, name)
    place = Place(paths.index(name), paths.embeddings(name), len(shards), model_fingerprint(paths.model(name)), store.sha256)
    inputs = inputs_of(experiment, paths, Job("search_index", name, part))
    index = index_for(experiment.system(name).ragged, settings, device, from_shards)
    if index.reads_shards:
        del inputs["index"]
        inputs |= {f"shard {number}": paths.embeddings(name) / f"{shard}.json" for number, shard in enumerate(shards, 1)}
    search = index.open(place, settings, device, verify=True)
    with context.record("search_index", name, part, inputs) as record, faiss_threads(threads):
        for split, mined in plan:
            run = MadeRun.of(context, name, split, mined)
            queries = vectors_of_queries(context, name, store, split)
            own = store.own_rows(split)
            found = Found(search_split(queries, search, Found.asked(run.depth, own), split), run.depth, own)
            run.write(found, store, record)
            record.metrics[f"passages/{split}"] = found.passages
            record.notes.setdefault("found", {})[split] = str(found)
            say(f"{run.file}: {found}")
            for sentence in found.cautions(split, len(store), "the index finds too little: raise index.nprobe or index.ef_search, or take an exact index"):
                record.caution(sentence)
        record.notes |= {
            "threads": threads,
            "exact from shards": index.reads_shards,
            "search on": device or "cpu",
        }
