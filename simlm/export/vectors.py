"""The vectors of all passages as Parquet files, for Anserini, LanceDB and ``datasets`` (:mod:`simlm.vectors.parquet`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from simlm.corpus.store import CorpusStore
from simlm.files import atomic_folder, require_new
from simlm.progress import progress
from simlm.vectors.parquet import write_parquet
from simlm.vectors.shards import Shards
from simlm.vectors.vectors import Vectors

MOST_ROWS = 1_000_000
"""Rows of a file."""
AT_ONCE = 8192


def export_vectors(shards: Shards, store: CorpusStore, folder: Path, most: int = MOST_ROWS) -> list[Path]:
    """Write a folder of ``corpus-00000-of-00003.parquet`` …, in the order of the corpus; returns the files.

    Parameters
    ----------
    most
        Most rows of a file.

    Raises
    ------
    UserError
        If the folder is there already.
    """
    require_new(folder)
    starts = range(0, len(store), most)
    names = [f"corpus-{number:05d}-of-{len(starts):05d}.parquet" for number in range(len(starts))]
    with atomic_folder(folder) as temporary:
        for start, name in progress(list(zip(starts, names)), len(names), "Writing vectors", unit="files"):
            write_parquet(temporary / name, _blocks(shards, store, start, min(start + most, len(store))))
    return [folder / name for name in names]


def _blocks(shards: Shards, store: CorpusStore, first: int, last: int) -> Iterator[tuple[list[str], Vectors]]:
    for start in range(first, last, AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, last))
        yield store.ids(rows), shards.take(rows)
