"""Which files go into MLflow whole, and which are only named by path, size and sha256."""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simlm.files import sha256_file, sha256_text
from simlm.paths import Paths
from simlm.records.stages import Stage

SMALL, SMALL_RUN, LARGEST_REPORT = 1 << 20, 10 << 20, 50 << 20
"""Bytes up to which ordinary files, run files and the report are stored."""

READABLE = {".json", ".jsonl", ".tsv", ".yaml", ".md", ".txt", ".log", ".html", ".svg", ".png"}


@contextmanager
def stage_artifacts(stage: Stage, paths: Paths) -> Iterator[Path]:
    """A temporary folder with what a stage's run stores, laid out as it will be in MLflow."""
    with tempfile.TemporaryDirectory(prefix="simlm-track-") as name:
        folder = Path(name)
        (folder / "record.json").write_text(json.dumps(stage.record, indent=2, ensure_ascii=False), encoding="utf-8")
        for file in (paths.log(stage.name), paths.benchmark(stage.name)):
            _copy_small(file, folder)
        if stage.kind == "train":
            _copy_small(paths.history(stage.subject), folder)
        outputs = stage.record.get("outputs", {})
        (folder / "outputs.json").write_text(json.dumps(outputs, indent=2, ensure_ascii=False), encoding="utf-8")
        for entry in outputs.values():
            _store_output(Path(str(entry.get("path"))) if isinstance(entry, dict) else paths.root, paths.root, folder / "outputs")
        yield folder


def _store_output(file: Path, root: Path, folder: Path) -> None:
    # A record from elsewhere must not make us publish files of this machine.
    if not file.is_file() or not file.resolve().is_relative_to(root.resolve()):
        return
    target = folder / "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in f"{file.parent.name}_{file.name}")
    if file.suffix == ".trec" and file.stat().st_size <= SMALL_RUN:
        folder.mkdir(exist_ok=True)
        with open(file, "rb") as source, gzip.GzipFile(f"{target}.gz", "wb", compresslevel=1, mtime=0) as packed:
            shutil.copyfileobj(source, packed)
    elif file.suffix in READABLE and file.stat().st_size <= SMALL:
        folder.mkdir(exist_ok=True)
        shutil.copyfile(file, target)


def _copy_small(file: Path, folder: Path, limit: int = SMALL) -> None:
    if file.is_file() and file.stat().st_size <= limit:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / file.name)


@contextmanager
def experiment_artifacts(paths: Paths, stages: list[Stage]) -> Iterator[Path]:
    """A temporary folder with what the parent run stores: configuration, tables, metrics, plots, report, references."""
    with tempfile.TemporaryDirectory(prefix="simlm-track-") as name:
        folder = Path(name)
        for file in (paths.config, paths.metrics_table, paths.comparisons, paths.pairs, paths.variants, paths.variant_tests, paths.reproduction):
            _copy_small(file, folder, SMALL_RUN)
        _copy_small(paths.report, folder, LARGEST_REPORT)
        _copy_small(paths.corpus / "manifest.json", folder / "corpus")
        for file in sorted((paths.root / "evaluation").glob("*/*.json")):
            _copy_small(file, folder / "evaluation" / file.parent.name)
        for file in sorted((paths.root / "plots").glob("*.svg")):
            _copy_small(file, folder / "plots")
        (folder / "references.json").write_text(json.dumps(references(stages), indent=2, ensure_ascii=False), encoding="utf-8")
        yield folder


def references(stages: list[Stage]) -> dict[str, Any]:
    """Stage → output name → path, bytes and sha256 of everything the experiment computed."""
    return {stage.name: stage.record["outputs"] for stage in stages if stage.record.get("outputs")}


def folder_digest(folder: Path) -> str:
    """Digest of a folder's relative names and contents."""
    return sha256_text("\n".join(f"{file.relative_to(folder)} {sha256_file(file)}" for file in sorted(folder.rglob("*")) if file.is_file()))[:32]
