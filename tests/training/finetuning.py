"""A small experiment on disk: corpus, base model and negatives, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertModel

from simlm.config import validate
from simlm.context import Context
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.models.folder import save_model
from simlm.paths import Paths
from simlm.runs.negatives import MinedQuery, MiningCounts, write_negatives

THINGS = ["matrix", "list", "row", "columns", "numbers", "numpy"]
DEEDS = ["swap", "invert", "sort", "find", "join", "split", "read", "write"]
QUERIES = len(THINGS) * len(DEEDS)


def make_context(root: Path, tokenizer: Any, models: dict[str, dict[str, Any]]) -> Context:
    """Passage i is about "deed thing"; query i asks for it; the negatives share the deed or the thing."""
    pairs = [(deed, thing) for deed in DEEDS for thing in THINGS]
    passages = [(f"p{i}", thing if i % 3 else "", f"{deed} the {thing} of a {thing} {deed} and {thing}") for i, (deed, thing) in enumerate(pairs)]
    queries = [(f"q{i}", f"{deed} a {thing}") for i, (deed, thing) in enumerate(pairs)]
    splits = {"train": (queries, [(f"q{i}", f"p{i}", 1) for i in range(QUERIES)])}
    splits["dev"] = ([(f"d{i}", f"{deed} the {thing}") for i, (deed, thing) in enumerate(pairs[:12])], [(f"d{i}", f"p{i}", 1) for i in range(12)])
    paths = Paths(root / "results" / "tiny")
    write_corpus(paths.corpus, passages, splits, {"source": "test"})
    save_model(root / "base", _encoder(tokenizer), tokenizer, kind="mlm", key="base", lengths={"passage": 32})
    store = CorpusStore(paths.corpus)
    for source in ("bm25", "retriever1"):
        listed = [MinedQuery(f"q{i}", np.array([i]), np.array(_close(i, pairs))) for i in range(QUERIES)]
        write_negatives(paths.negatives(source), listed, {"corpus_sha256": store.sha256}, MiningCounts(queries=QUERIES))
    for block in models.values():
        if block["kind"] not in ("fusion", "given_scores"):
            block.setdefault("init", str(root / "base"))
    values = {
        "name": "tiny",
        "results": str(root / "results"),
        "seed": 7,
        "precision": "fp32",
        "corpus": {"source": "python_docs", "packages": ["numpy"]},
        "models": models,
        "evaluate": {"systems": ["bm25"], "splits": {"dev": {}}, "main_split": "dev"},
    }
    return Context(validate(values), paths)


def _close(i: int, pairs: list[tuple[str, str]]) -> list[int]:
    return [j for j, (deed, thing) in enumerate(pairs) if j != i and (deed == pairs[i][0] or thing == pairs[i][1])]


def _encoder(tokenizer: Any) -> BertModel:
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64}
    # A fresh BERT gives every text nearly the same [CLS]; larger weights spread them, as pre-training does.
    config = BertConfig(vocab_size=len(tokenizer), **size, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.2)
    return BertModel(config, add_pooling_layer=False)
