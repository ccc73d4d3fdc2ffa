"""Fingerprints of the code a stage uses, so that an edited module reruns exactly the stages that it can change.

Comments, docstrings and formatting do not count. The workflow puts a fingerprint into each rule's ``params``.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent

STAGES: dict[str, tuple[str, ...]] = {
    "prepare_corpus": ("simlm.corpus",),
    "train_tokenizer": ("simlm.models.tokenizer",),
    "index_bm25": ("simlm.lexical",),
    "search_bm25": ("simlm.lexical", "simlm.retrieval.runs"),
    "mine_negatives": ("simlm.retrieval.negatives",),
    "encode": ("simlm.retrieval.encode", "simlm.models.text"),
    "build_index": ("simlm.retrieval.index",),
    "search_index": ("simlm.retrieval.search", "simlm.retrieval.runs", "simlm.models.text"),
    "score_teacher": ("simlm.retrieval.teacher", "simlm.training.teacher_scores", "simlm.training.groups", "simlm.models.crossencoder", "simlm.models.pairs"),
    "rerank": ("simlm.retrieval.rerank", "simlm.retrieval.runs", "simlm.models.crossencoder", "simlm.models.pairs"),
    "fuse": ("simlm.retrieval.fusion", "simlm.retrieval.runs"),
    "evaluate": ("simlm.evaluation.metrics",),
    "compare_systems": ("simlm.evaluation",),
    "report": ("simlm.report",),
    "track": ("simlm.tracking",),
}
"""Modules and packages behind each stage; a trained kind declares its own in ``ModelBlock.code``."""


def fingerprint(modules: Iterable[str]) -> str:
    """Hex digest of what the modules (or all modules of a package) do; the order of ``modules`` does not matter.

    >>> fingerprint(["simlm.errors"]) == fingerprint(["simlm.errors", "simlm.errors"])
    True
    """
    digest = hashlib.sha256()
    for module in sorted(set(modules)):
        digest.update(module.encode())
        for file in source_files(module):
            digest.update(_meaning(file).encode())
    return digest.hexdigest()[:16]


def source_files(module: str) -> list[Path]:
    """Source files of a module or package of this project; empty if there is none of that name."""
    stem = PACKAGE.parent.joinpath(*module.split("."))
    if stem.is_dir():
        return sorted(stem.rglob("*.py"))
    return [stem.with_suffix(".py")] if stem.with_suffix(".py").exists() else []


@functools.cache
def _meaning(file: Path) -> str:
    tree = ast.parse(file.read_bytes(), filename=str(file))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # Docstrings, and the strings that document a constant below it.
            node.body = [
                item for item in body if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and isinstance(item.value.value, str))
            ]
    return ast.dump(tree)
