"""A whole experiment in seconds: every stage has run, so that every file that a stage reads can be damaged."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from simlm.cli import main
from simlm.paths import Paths

RESULTS_NAME = "tiny"
THINGS = ["matrix", "list", "row", "column", "number", "array"]
DEEDS = ["swap", "invert", "sort", "find", "join", "split", "read", "write", "count", "merge"]
TEXTS = [f"{deed} the {thing}" for deed in DEEDS for thing in THINGS]

TRAINED = {"steps": 2, "batch_size": 4, "learning_rate": 1e-3, "threads": 1, "log_steps": 1, "checkpoint_steps": 1}
PAIRED = {"hard_negatives": 2, **TRAINED}
DENSE = {"kind": "biencoder", "init": "base", "query_length": 12, "passage_length": 24, "holdout": 4, **PAIRED}

CONFIGURATION: dict[str, Any] = {
    "name": "tiny",
    "precision": "fp32",
    "corpus": {"source": "beir", "path": "data", "splits": {"train": "train", "dev": "dev", "test": "test"}},
    "tokenizer": {"vocabulary": 300},
    "negatives": {"depth": 10, "sample": 4, "pad_to": 6},
    "encoding": {"shards": 2, "batch_size": 16, "threads": 1},
    "models": {
        "base": {
            "kind": "mlm", "size": {"layers": 2, "hidden": 16, "heads": 2, "intermediate": 32, "positions": 48}, "max_length": 24, **TRAINED,
        },
        "simlm": {"kind": "bottleneck", "init": "base", "generator": "base", "holdout": 8, "max_length": 24, **TRAINED},
        "retriever": {**DENSE, "negatives": "bm25"},
        "reranker": {"kind": "crossencoder", "init": "base", "negatives": "bm25", "rerank": "bm25", "max_length": 32, "rerank_depth": 5, **PAIRED},
        "student": {**DENSE, "negatives": "bm25", "teacher": "reranker"},
        "fusion": {"kind": "fusion", "of": ["student", "bm25"]},
    },
    "evaluate": {
        "systems": ["bm25", "student", "reranker", "fusion"], "splits": {"dev": {}, "test": {}}, "main_split": "test", "main_metric": "RR@10",
        "metrics": ["RR@10", "R@50", "nDCG@10"], "depth": 20, "resamples": 100,
    },
}  # fmt: skip

CHAIN = [
    ["prepare-corpus"], ["train-tokenizer"], ["index-bm25"], ["search-bm25"], ["search-bm25", "--splits", "train"],
    ["mine-negatives", "--model", "bm25"], ["train", "--model", "base"], ["train", "--model", "simlm"], ["train", "--model", "retriever"],
    ["train", "--model", "reranker"], ["score-teacher", "--model", "student"],
    ["train", "--model", "student"], ["encode", "--model", "student"], ["build-index", "--model", "student"], ["search-index", "--model", "student"],
    ["rerank", "--model", "reranker"], ["fuse", "--model", "fusion"], ["evaluate"], ["compare-systems"],
]  # fmt: skip
"""The commands of the chain up to its tables, without ``--config``."""


@dataclass
class Place:
    """A folder that is the working directory, with ``config.yaml``, ``data/`` and ``results/tiny/``."""

    root: Path

    @property
    def paths(self) -> Paths:
        return Paths(self.root / "results" / "tiny")

    def tree(self, *but: str) -> dict[str, str]:
        """Relative name → digest of every file, locks, known digests and what lies below ``but`` excepted."""
        found = {}
        for file in sorted(self.root.rglob("*")):
            name = str(file.relative_to(self.root))
            if file.is_file() and file.suffix != ".lock" and file.name != "digests.jsonl" and not name.startswith(but or ("\0",)):
                found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
        return found


def write_data(folder: Path) -> None:
    """A BEIR folder: passage i tells about what query i asks for."""
    (folder / "qrels").mkdir(parents=True)
    passages = [
        {"_id": f"p{i}", "title": "" if i % 3 else text.split()[-1], "text": f"{text} of a {text.split()[-1]}, and more"} for i, text in enumerate(TEXTS)
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in passages))
    queries = []
    for split, numbers in {"train": range(40), "dev": range(40, 50), "test": range(50, 60)}.items():
        queries += [{"_id": f"q{i}", "text": f"how to {TEXTS[i]}"} for i in numbers]
        lines = ["query-id\tcorpus-id\tscore", *(f"q{i}\tp{i}\t1" for i in numbers)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in queries))


def write_configuration(folder: Path, change=None) -> Path:
    """``config.yaml`` of the folder, after ``change`` was made to its values."""
    values = copy.deepcopy(CONFIGURATION)
    if change is not None:
        change(values)
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return file


def make(folder: Path) -> Paths:
    """Run the whole chain in ``folder``, which must be the working directory."""
    write_data(folder / "data")
    write_configuration(folder)
    with open(folder / "config.yaml", encoding="utf-8") as stream:
        text = stream.read()
    for command in CHAIN:
        assert main([*command, "--config", "config.yaml"]) == 0, command
    (folder / "results" / "tiny" / "config.yaml").write_text(text)
    return Paths(folder / "results" / "tiny")
