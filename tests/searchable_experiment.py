"""Builds a small experiment that can be searched: real files of every kind of system, models with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from simlm.config import validate
from simlm.context import Context
from simlm.corpus.store import write_corpus
from simlm.files import write_text
from simlm.paths import Paths

HOSTILE = '<script>alert("owned")</script> & <b>bold</b> \x1b[31mred [bold]rich[/bold]'
WORDS = ["swap", "two", "columns", "invert", "matrix", "of", "numbers", "numpy", "row", "sort", "list", "find", "join", "split", "read", "write"]
PASSAGES = 90


def configuration(results: Path) -> dict[str, Any]:
    """BM25, a bi-encoder, a re-ranker of it, and their fusion."""
    trained = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "threads": 1}
    return {
        "name": "tiny",
        "results": str(results),
        "precision": "fp32",
        "corpus": {"source": "beir", "path": "data/tiny", "splits": {"train": "train", "test": "test"}},
        "models": {
            "base": {"kind": "mlm", "size": {}, **trained},
            "distilled": {"kind": "biencoder", "init": "base", "negatives": "bm25", "hard_negatives": 1, "query_length": 8, "passage_length": 24, **trained},
            "second": {"kind": "biencoder", "init": "base", "negatives": "distilled", "hard_negatives": 1, "query_length": 8, "passage_length": 24, **trained},
            "reranker": {
                "kind": "crossencoder",
                "init": "base",
                "negatives": "distilled",
                "hard_negatives": 1,
                "rerank_depth": 20,
                "max_length": 32,
                **trained,
            },
            "fusion": {"kind": "fusion", "of": ["distilled", "bm25"]},
        },
        "negatives": {"depth": 30, "sample": 5, "pad_to": 6},
        "encoding": {"shards": 2, "batch_size": 16, "threads": 1},
        "evaluate": {"systems": ["bm25", "second", "reranker", "distilled", "fusion"], "splits": {"test": {}}, "main_split": "test", "depth": 50},
    }


def save_models(paths: Paths, tokenizer: Any) -> None:
    """A bi-encoder and a cross-encoder with random weights; `second` is never trained."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    from simlm.models.folder import save_model

    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64, "num_labels": 1}
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), **size)
    encoder = BertModel(config, add_pooling_layer=False)
    save_model(paths.model("distilled"), encoder, tokenizer, kind="biencoder", key="k", lengths={"query": 8, "passage": 24})
    save_model(paths.model("reranker"), BertForSequenceClassification(config), tokenizer, kind="crossencoder", key="k", lengths={"pair": 32})


def make(results: Path, tokenizer: Any) -> Context:
    """Corpus, BM25 index and models; nothing is embedded yet."""
    import yaml

    from simlm.lexical.choice import build_best_index

    values = configuration(results)
    experiment = validate(values)
    paths = Paths(results / experiment.name)
    write_text(paths.config, yaml.safe_dump(values))
    random = np.random.default_rng(3)
    passages = [(f"d{row}", f"numpy {WORDS[row % 16]}" if row % 4 else "", " ".join(random.choice(WORDS, 6 + row % 30))) for row in range(PASSAGES - 1)]
    passages.append(("hostile", f"{HOSTILE} title", f"swap {HOSTILE} columns " + "long tail " * 60))
    queries = {"train": ["sort a list", "read numbers", "join two columns"], "test": ["swap two columns", "invert <b>matrix</b>", "find numbers"]}
    splits = {
        split: ([(f"{split}{i}", text) for i, text in enumerate(texts)], [(f"{split}{i}", f"d{i}", 1) for i in range(len(texts))])
        for split, texts in queries.items()
    }
    write_corpus(paths.corpus, passages, splits, {"source": "test"})
    from simlm.corpus.store import CorpusStore

    build_best_index(CorpusStore(paths.corpus), paths.bm25, experiment.bm25, experiment.evaluate)
    save_models(paths, tokenizer)
    return Context(experiment, paths)
