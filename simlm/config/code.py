"""Fingerprints of the code behind a stage, so that an edited module reruns exactly the stages that it can change.

A stage is its module in :mod:`simlm.stages`; what that module imports from this project follows by itself.
Comments, docstrings and formatting do not count, nor does plumbing that cannot change a result. The workflow puts a
fingerprint into each rule's ``params``.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simlm.config.experiment import Experiment

PACKAGE = Path(__file__).resolve().parent.parent

WHOLE: dict[str, tuple[str, ...]] = {
    "download": ("simlm.hub",),
    "prepare_corpus": ("simlm.corpus",),
    "judge_reproduction": ("simlm.config.published",),
    "report": ("simlm.report",),
    "track": ("simlm.tracking",),
}
"""Stage → what it does its work with although it is plumbing to others, or holds templates."""

PLUMBING = (
    "simlm.cli", "simlm.commands", "simlm.config", "simlm.context", "simlm.corpus.passage_file", "simlm.corpus.writer", "simlm.damage", "simlm.devices",
    "simlm.digests", "simlm.durable", "simlm.errors", "simlm.files", "simlm.hub", "simlm.launch", "simlm.locks", "simlm.machine", "simlm.metering",
    "simlm.models.card", "simlm.models.sentence_transformers_files", "simlm.paths", "simlm.planning.utilisation", "simlm.processes", "simlm.progress",
    "simlm.records.record", "simlm.tracking", "simlm.training.checkpoints", "simlm.training.history", "simlm.walltime",
)  # fmt: skip
"""Modules whose change cannot change what a stage computes that merely imports them: settings are compared by value,
files by their digests, and the rest only reports. What reads the corpus store is none of them, nor is what chooses precision and attention; what
writes the store is: if the corpus comes out another, its digest says so."""


def code_of(experiment: Experiment, stage: str, name: str | None = None) -> str:
    """Fingerprint of the code behind a stage: its function, what that imports, and what makes or opens the model ``name``."""
    names: list[str | None] = []
    if stage in ("train", "import_model") and name is not None:
        names.append(experiment.models[name].trainer)
    if stage in ("encode", "search_index") and name is not None:
        names.append(getattr(experiment.system(name), "embedder", None))
    if stage == "rerank" and name is not None:
        names.append(experiment.system(experiment.system(name).sorter(name)).scorer)
    if stage == "score_teacher" and name is not None:
        teachers = [experiment.system(teacher) for field, teacher in experiment.models[name].reads_models().items() if field.startswith("teacher")]
        names += [teacher.scorer for teacher in teachers if teacher.scores]
    return _fingerprint_once(f"simlm.stages.{stage}", *WHOLE.get(stage, ()), *(found.partition(":")[0] for found in names if found))


def fingerprint(*modules: str) -> str:
    """Hex digest of what the modules, and those that they import, do; the order does not matter.

    >>> fingerprint("simlm.errors") == fingerprint("simlm.errors", "simlm.errors")
    True
    """
    digest = hashlib.sha256()
    for file in sorted({file for module in reached(modules) for file in source_files(module)}):
        digest.update(str(file.relative_to(PACKAGE)).encode())
        digest.update(_read(file)[0])
    return digest.hexdigest()[:16]


_fingerprint_once = functools.cache(fingerprint)
"""The same for as long as the process runs, in which its code does not change."""


def reached(modules: Iterable[str]) -> set[str]:
    """The modules and all others of this project that they import, anywhere in their text, without the plumbing."""
    found: set[str] = set()
    stack = list(modules)
    while stack:
        module = stack.pop()
        if module in found:
            continue
        found.add(module)
        for file in source_files(module):
            stack += [name for name in _read(file)[1] if not _is_plumbing(name)]
    return found


def source_files(module: str) -> list[Path]:
    """Files of a module, or of a package with its templates; empty if this project has none of that name."""
    stem = PACKAGE.parent.joinpath(*module.split("."))
    if stem.is_dir():
        return sorted(file for file in stem.rglob("*") if file.suffix in (".py", ".html", ".css", ".js"))
    return [stem.with_suffix(".py")] if stem.with_suffix(".py").exists() else []


def _is_plumbing(module: str) -> bool:
    return any(module == name or module.startswith(name + ".") for name in PLUMBING)


@functools.cache
def _read(file: Path) -> tuple[bytes, frozenset[str]]:
    """What a file does, as bytes that comments do not change, and the modules of this project that it imports."""
    if file.suffix != ".py":
        return file.read_bytes(), frozenset()
    tree = ast.parse(file.read_bytes(), filename=str(file))
    imports: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE.name:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                imports.add(whole if source_files(whole) else node.module)
        elif isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE.name}
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # Docstrings, and the strings that document a constant below it.
            node.body = [item for item in body if not _is_text(item)]
    # A module of the package's root would be the package itself, and with it everything.
    return ast.dump(tree).encode(), frozenset(imports - {PACKAGE.name})


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
