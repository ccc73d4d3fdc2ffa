"""Titles from another data set, by passage id: the RocketQA title-augmented MS MARCO corpus that SimLM uses."""

from __future__ import annotations

import os
import shutil
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from simlm.corpus.choice import hash64
from simlm.corpus.hub import ID_COLUMNS
from simlm.corpus.records import Passage, clean_id, clean_text
from simlm.corpus.tables import BATCH, Table, open_table
from simlm.errors import UserError
from simlm.hub import data_files, fetch

NO_TITLE = "-"


def _load(name: str) -> Table:
    """All data files of a folder or of a Hugging Face repository as one table.

    Not by the data set's name: Tevatron's repository comes with a loading script, which ``datasets`` refuses to know.
    """
    folder = Path(name).expanduser()
    files = data_files(folder if folder.is_dir() else fetch(name, "dataset"))
    if not files:
        raise UserError(f"corpus.title_dataset: {folder} holds no .jsonl, .parquet or .tsv file; put one there")
    try:
        return open_table(files)
    except UserError as error:
        raise UserError(f"corpus.title_dataset: {error}") from None


@contextmanager
def _temporary_folder() -> Iterator[str]:
    try:
        folder = tempfile.mkdtemp(prefix="simlm-titles-")
    except OSError as error:
        raise _no_room(error, os.environ.get("TMPDIR", "/tmp")) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _no_room(error: OSError, folder: str) -> UserError:
    return UserError(f"{folder}: titles cannot be kept there ({error.strerror or error}); free space, or name another folder of temporary files in TMPDIR")


@contextmanager
def _mapped(rows: Iterable[tuple[Any, ...]], where: Callable[[int], str]) -> Iterator[tuple[np.ndarray, pa.Table]]:
    """Hashes of the ids, and ids and titles as a memory-mapped table in a temporary file."""
    schema, hashes, numbered = pa.schema([("id", pa.string()), ("title", pa.string())]), array("Q"), enumerate(rows, 1)
    with _temporary_folder() as folder:
        file = f"{folder}/titles.arrow"
        with pa.OSFile(file, "wb") as sink, pa.ipc.new_stream(sink, schema) as stream:
            while batch := list(islice(numbered, 64 * BATCH)):
                ids = [clean_id(row[0], where, n, "passage") for n, row in batch]
                titles = ["" if row[1] is None else clean_text(row[1], where, n, "title") for n, row in batch]
                hashes.extend(map(hash64, ids))
                try:
                    stream.write_batch(pa.record_batch([pa.array(ids, pa.string()), pa.array(titles, pa.string())], schema=schema))
                except OSError as error:
                    raise _no_room(error, folder) from None
        with pa.memory_map(file) as source:
            yield np.frombuffer(hashes, np.uint64) if hashes else np.zeros(0, np.uint64), pa.ipc.open_stream(source).read_all()


def with_titles(passages: Iterator[Passage], name: str, dropped: Counter[str]) -> Iterator[Passage]:
    """Give each passage the title that data set ``name`` has for its id, keeping its own text.

    Memory: 16 bytes per title for the lookup; the titles lie in a memory-mapped temporary file. The literal ``-``, which
    such data sets hold for an absent title, becomes ``""``. Passages without an entry are counted in ``dropped``.

    Raises
    ------
    UserError
        If the data set cannot be loaded, has no titles, or shares no id with the passages.
    """
    rows = _load(name).records(ID_COLUMNS, ("title",))
    total = matched = 0
    with _mapped(rows, rows.where) as (hashes, table):
        if not len(hashes):
            raise UserError(f"corpus.title_dataset: '{name}' holds no titles; name another data set")
        order = np.argsort(hashes)
        ranked = hashes[order]
        while batch := list(islice(passages, BATCH)):
            wanted = np.array([hash64(str(passage[0])) for passage in batch], dtype=np.uint64)
            places = np.minimum(np.searchsorted(ranked, wanted), len(ranked) - 1)
            found = table.take(order[places[ranked[places] == wanted]])
            title_of = dict(zip(found["id"].to_pylist(), found["title"].to_pylist()))
            for one, _, text in batch:
                title = title_of.get(str(one))
                total, matched = total + 1, matched + (title is not None)
                yield one, "" if title is None or title.strip() == NO_TITLE else title, text
    if total and not matched:
        raise UserError(f"corpus.titles: '{name}' has no title for any of the {total:,} passages; its ids must be those of the passages")
    dropped["passages_without_title_entry"] += total - matched
