"""Size, speed and loss of kinds of faiss index, on the vectors of an experiment that has run.

    python benchmarks/index_choices.py --experiment pydocs --model retriever1 --split test
    python benchmarks/index_choices.py --experiment pydocs --model retriever1 --split test --choices SQfp16 IVF256,Flat:nprobe=8

Each index is built with the project's own code from `embeddings/<model>`, opened as `search-index` opens it (mapped), and asked the
split's queries with one thread. A choice is a factory string, with `:nprobe=N` or `:ef_search=N` where the search has a width.

* bytes per vector: the file's size over the number of passages;
* queries per second: of CPU time, which other work on the machine changes less than wall time;
* recall@100: share of the exact search's first 100 passages that are among the index's first 100;
* in memory: what a fresh process has allocated after opening the index, in percent of the file; little means that it is mapped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from simlm import hardware
from simlm.config import load_experiment
from simlm.corpus.store import CorpusStore
from simlm.indexes.faiss_index import IndexSearch, build_index, faiss_threads, load_index
from simlm.indexes.from_shards import ShardedSearch
from simlm.paths import Paths
from simlm.retrieval.encoder import TextEncoder
from simlm.vectors.shards import Shards

DEPTH = 100
CHOICES = [
    "Flat", "SQfp16", "SQ8", "SQ4",
    "IVF256,Flat:nprobe=4", "IVF256,Flat:nprobe=16", "IVF256,Flat:nprobe=64", "IVF256,SQfp16:nprobe=16", "IVF256,SQ8:nprobe=16",
    "HNSW32:ef_search=128", "HNSW32:ef_search=512", "HNSW32,SQ8:ef_search=128",
    "PQ32", "OPQ32,PQ32", "OPQ32,IVF256,PQ32:nprobe=16", "PQ32,RFlat",
]  # fmt: skip
LOAD = """
import json, sys
import faiss
from simlm.indexes.faiss_index import load_index
def anonymous():
    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('RssAnon'))
before = anonymous()
index = load_index(sys.argv[1], **json.loads(sys.argv[2]))
print(1024 * (anonymous() - before))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--experiment", default="pydocs")
    parser.add_argument("--config", type=Path, nargs="+", default=None, help="configuration files (default: the resolved one of the experiment)")
    parser.add_argument("--model", required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("--queries", type=int, default=1000, help="most queries asked")
    parser.add_argument("--choices", nargs="+", default=CHOICES)
    arguments = parser.parse_args()
    paths = Paths(arguments.results / arguments.experiment)
    experiment = load_experiment(*(arguments.config or [paths.config]))
    hardware.prepare(1)
    store, encoder = CorpusStore(paths.corpus), TextEncoder(paths.model(arguments.model), hardware.choose_precision(experiment.precision))
    whole = {"model_sha256": encoder.sha256, "corpus_sha256": store.sha256}
    shards = Shards(paths.embeddings(arguments.model), experiment.encoding.shards, **whole)
    queries = encoder.queries(list(store.queries(arguments.split).values())[: arguments.queries])
    with faiss_threads(1):
        exact, _ = ShardedSearch(shards)(queries, DEPTH)
        print(f"{shards.rows:,} vectors of {shards.dimension} numbers, {len(queries):,} queries\n")
        print("| index | search | bytes per vector | build CPU s | queries per second | recall@100 | in memory |\n|---|---|---|---|---|---|---|")
        for choice in arguments.choices:
            print(row(choice, shards, whole, queries, exact), flush=True)


def row(choice: str, shards: Shards, whole: dict[str, str], queries: np.ndarray, exact: np.ndarray) -> str:
    """Build, open and ask one index."""
    factory, _, option = choice.partition(":")
    name, _, value = option.partition("=")
    options = {name: int(value)} if name else {}
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        manifest = build_index(shards, folder, factory)
        built = time.process_time() - start
        size = manifest["file"]["bytes"]
        opened = subprocess.run([sys.executable, "-c", LOAD, folder, json.dumps({**whole, **options})], capture_output=True, text=True, check=True)
        search = IndexSearch(load_index(folder, **whole, **options))
        search(queries[:10], DEPTH)
        start = time.process_time()
        rows, _ = search(queries, DEPTH)
        speed = len(queries) / (time.process_time() - start)
    found = np.mean([len(np.intersect1d(mine, theirs)) for mine, theirs in zip(rows, exact)]) / exact.shape[1]
    return f"| `{factory}` | {option or '-'} | {size / shards.rows:,.0f} | {built:.1f} | {speed:,.0f} | {found:.3f} | {int(opened.stdout) / size:.0%} |"


if __name__ == "__main__":
    main()
