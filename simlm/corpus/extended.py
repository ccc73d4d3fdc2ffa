"""A corpus store with further splits: the passages, queries and judgements of another stay byte for byte as they are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from simlm.corpus.judged import JudgedSplit
from simlm.corpus.own_passages import OwnPassages
from simlm.corpus.store import CorpusStore
from simlm.corpus.writer import write_manifest, write_split
from simlm.digests import described
from simlm.durable import make_folder
from simlm.files import atomic_folder


def add_splits(store: CorpusStore, folder: Path, splits: Iterable[JudgedSplit], facts: dict[str, Any]) -> dict[str, Any]:
    """Write a store that has what ``store`` has, and ``splits`` beside it.

    Parameters
    ----------
    splits
        With names that ``store`` does not have.
    facts
        About their making, for ``made_queries`` of the manifest.

    Returns
    -------
    dict
        The manifest.
    """
    with atomic_folder(folder) as temporary:
        for file in described(store.folder, store.manifest):
            own = temporary / file.relative_to(store.folder)
            make_folder(own.parent)
            _link(file, own)
        made = {split.name: write_split(temporary, split, OwnPassages(len(split.queries)), False) for split in splits}
        manifest = {**store.manifest, "splits": {**store.manifest["splits"], **made}, "made_queries": facts}
        manifest.pop("files")
        write_manifest(temporary, manifest)
    return manifest


def _link(file: Path, own: Path) -> None:
    """The same bytes under another name; a copy where the file system has no links."""
    try:
        os.link(file, own)
    except OSError:
        shutil.copyfile(file, own)
