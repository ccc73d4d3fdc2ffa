"""Vectors with the ids of their texts, written block by block: a folder that :class:`~simlm.vectors.shards.Shards` opens, or ``.npy`` and ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from simlm.errors import UserError
from simlm.files import atomic_file, atomic_folder, sha256_file, write_json
from simlm.vectors.blocks import DTYPES, npy_header, offsets_file
from simlm.vectors.vectors import Vectors

IDS = "ids.txt"
"""External ids of the rows, one a line."""

Blocks = Iterable[tuple[list[str], Vectors]]
"""Ids and vectors of consecutive texts."""


def ids_file(vectors: Path) -> Path:
    """Where the ids of ``vectors.npy`` lie."""
    return vectors.with_suffix(".ids.txt")


def distinct(blocks: Blocks) -> Iterator[tuple[list[str], Vectors]]:
    """The same blocks.

    Raises
    ------
    UserError
        On the way, if two texts have one id; at the end, if there was none.
    """
    seen: set[str] = set()
    for ids, vectors in blocks:
        for one in ids:
            if one in seen:
                raise UserError(f"the id '{one}' is there twice; give every text an id of its own")
            seen.add(one)
        yield ids, vectors
    if not seen:
        raise UserError("there is no text to embed; give a file that holds some")


def write_npy(file: Path, blocks: Blocks, dimension: int, dtype: str, ragged: bool) -> int:
    """Write ``file`` (shape (vectors, dimension)), the ids beside it, and offsets where texts have any number of vectors; returns the number of texts."""
    lengths, rows, vectors = [np.zeros(0, np.int64)], 0, 0
    numbers = np.dtype(DTYPES[dtype])
    with atomic_file(file) as temporary:
        with atomic_file(ids_file(file)) as names, open(names, "w", encoding="utf-8", newline="\n") as listed, open(temporary, "wb") as stream:
            stream.write(npy_header(numbers, (0, dimension)))
            for ids, block in blocks:
                listed.write("".join(f"{one}\n" for one in ids))
                stream.write(np.ascontiguousarray(block.values.astype(numbers, copy=False)).data)
                lengths.append(block.lengths)
                rows, vectors = rows + len(ids), vectors + len(block.values)
            stream.seek(0)
            stream.write(npy_header(numbers, (vectors, dimension)))  # numpy leaves room for any number of rows
        if ragged:
            with atomic_file(offsets_file(file)) as offsets, open(offsets, "wb") as stream:
                np.save(stream, np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)]))
    return rows


def write_folder(folder: Path, blocks: Blocks, dimension: int, dtype: str, ragged: bool, about: Callable[[], dict[str, Any]]) -> int:
    """Write a folder of one shard, ``1-of-1.npy`` and its manifest, and :data:`IDS`; returns the number of texts.

    Parameters
    ----------
    about
        What the vectors depend on, for the manifest: the rest of what :class:`~simlm.vectors.shards.Shards` asks for. Called when all are there.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "1-of-1.json").exists():
        raise UserError(f"{folder} holds other files; name a new folder for the vectors")
    with atomic_folder(folder) as temporary:
        file = temporary / "1-of-1.npy"
        rows = write_npy(file, blocks, dimension, dtype, ragged)
        ids_file(file).rename(temporary / IDS)
        described = {"vectors": _file(file), **({"offsets": _file(offsets_file(file))} if ragged else {}), "ids": _file(temporary / IDS)}
        where = {"first_row": 0, "last_row": rows - 1, "rows": rows, "corpus_rows": rows, "shard": 1, "shards": 1}
        write_json(temporary / "1-of-1.json", {**about(), **where, "dimension": dimension, "dtype": dtype, **described})
    return rows


def _file(file: Path) -> dict[str, Any]:
    return {"file": file.name, "bytes": file.stat().st_size, "sha256": sha256_file(file)}
