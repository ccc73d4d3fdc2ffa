"""Stand-ins for what this benchmark does not compute: a random encoder, random vectors in the shard format, a random run.

Their shape is what memory and time of the other stages depend on; their content is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from simlm.corpus.store import CorpusStore
from simlm.files import atomic_file, sha256_file, write_json
from simlm.models.loading import load_tokenizer
from simlm.models.manifest import model_fingerprint
from simlm.paths import Paths
from simlm.retrieval.encode import BLOCK, shard_rows
from simlm.runs.runs import Ranking, write_train_run
from simlm.vectors.blocks import DTYPES


def write_encoder(folder: Path, tokenizer: str = "pretrained/pydocs-base", width: int = 768) -> None:
    """A random BERT of one layer whose vectors are as wide as BERT-base's."""
    from transformers import BertConfig, BertForMaskedLM

    own = load_tokenizer(tokenizer)
    config = BertConfig(vocab_size=len(own), hidden_size=width, num_hidden_layers=1, num_attention_heads=12, intermediate_size=width)
    BertForMaskedLM(config).save_pretrained(folder)
    own.save_pretrained(folder)


def write_retriever(paths: Paths, model: str, start: Path) -> None:
    """A bi-encoder's folder without its training."""
    from simlm.models.folder import save_model
    from simlm.models.loading import load_encoder

    lengths = {"query": 32, "passage": 144}
    save_model(paths.model(model), load_encoder(start), load_tokenizer(start), kind="biencoder", key="random", lengths=lengths)


def write_vectors(paths: Paths, model: str, width: int, shards: int, dtype: str, seed: int = 1) -> None:
    """Random unit vectors for every passage, as ``simlm encode`` would have left them."""
    store = CorpusStore(paths.corpus)
    for shard in range(1, shards + 1):
        first, last = shard_rows(len(store), shard, shards)
        manifest = paths.shard_manifest(model, shard, shards)
        manifest.parent.mkdir(parents=True, exist_ok=True)
        file = manifest.with_suffix(".npy")
        array = np.lib.format.open_memmap(file, "w+", DTYPES[dtype], (last - first, width))
        for start in range(first, last, BLOCK):
            rows = np.random.default_rng([seed, start]).standard_normal((min(BLOCK, last - start), width), np.float32)
            array[start - first : start - first + len(rows)] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        array.flush()
        about: dict[str, Any] = {"model_sha256": model_fingerprint(paths.model(model)), "corpus_sha256": store.sha256, "precision": "fp32"}
        about |= {"first_row": first, "last_row": last - 1, "rows": last - first, "corpus_rows": len(store), "dimension": width, "dtype": dtype}
        write_json(manifest, {**about, "vectors": {"file": file.name, "bytes": file.stat().st_size, "sha256": sha256_file(file)}})


def write_run(paths: Paths, system: str, depth: int, seed: int = 1) -> None:
    """A run of the training queries with random passages."""
    store = CorpusStore(paths.corpus)

    def rankings() -> Iterator[Ranking]:
        random, scores = np.random.default_rng(seed), np.arange(depth, 0, -1, np.float32)
        for query_id in store.queries("train"):
            rows = np.unique(random.integers(0, len(store), 2 * depth))
            yield Ranking(query_id, random.permutation(rows)[:depth].astype(np.int32), scores[: len(rows)])

    write_train_run(paths.train_run(system), rankings(), system=system, depth=depth, corpus_sha256=store.sha256)


def write_teacher_scores(paths: Paths, student: str, source: str, negatives: int, seed: int = 1) -> None:
    """Random logits for the positives and the first ``negatives`` hard negatives of every training query."""
    from simlm.runs.negatives import read_negatives
    from simlm.training.teacher_scores import write_teacher_scores as write

    random = np.random.default_rng(seed)
    lists = ((query.query_id, np.concatenate([query.positives, query.negatives[:negatives]])) for query in read_negatives(paths.negatives(source)))
    with atomic_file(paths.teacher_scores(student)) as temporary:
        write(temporary, ((query_id, rows, random.standard_normal(len(rows), np.float32)) for query_id, rows in lists), {"student": student})
