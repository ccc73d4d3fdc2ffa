"""Titles from another data set, by passage id: the RocketQA title-augmented MS MARCO corpus that SimLM uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from simlm.corpus.choice import hash64
from simlm.corpus.hub import ID_COLUMNS, column
from simlm.corpus.records import Passage
from simlm.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

BATCH = 1000
NO_TITLE = "-"


def _load(name: str) -> Dataset:
    """All data files of a folder or of a Hugging Face repository as one table.

    Not by the data set's name: Tevatron's repository comes with a loading script, which ``datasets`` refuses to know.
    """
    import datasets

    from simlm.hub import data_files, fetch

    folder = Path(name).expanduser()
    local = folder.is_dir()
    files = data_files(folder if local else fetch(name, "dataset"))
    if not files:
        raise UserError(f"corpus.title_dataset: {folder} holds no .jsonl, .parquet or .tsv file; put one there")
    try:
        return datasets.load_dataset(str(files[0].parent), data_files={"train": [str(file) for file in files]})["train"]
    except Exception as error:  # datasets raises many kinds
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"corpus.title_dataset: '{name}' cannot be read ({type(error).__name__}: {reason}); check its files") from error


def with_titles(passages: Iterator[Passage], name: str, dropped: Counter[str]) -> Iterator[Passage]:
    """Give each passage the title that data set ``name`` has for its id, keeping its own text.

    Memory: 16 bytes per title for the lookup; the titles stay in the memory-mapped data set. The literal ``-``, which
    such data sets hold for an absent title, becomes ``""``. Passages without an entry are counted in ``dropped``.

    Raises
    ------
    UserError
        If the data set cannot be loaded, has no titles, or shares no id with the passages.
    """
    dataset = _load(name)
    ids, titles = column(dataset, ID_COLUMNS, name), column(dataset, ("title",), name)
    table = dataset.data.table
    id_column, title_column = pc.cast(table[ids], "string"), table[titles]
    hashes = np.fromiter((hash64(one) for chunk in id_column.chunks for one in chunk.to_pylist()), np.uint64, len(id_column))
    order = np.argsort(hashes)
    ranked = hashes[order]
    total = matched = 0
    while batch := list(islice(passages, BATCH)):
        wanted = np.array([hash64(str(passage[0])) for passage in batch], dtype=np.uint64)
        places = np.minimum(np.searchsorted(ranked, wanted), len(ranked) - 1)
        hit = ranked[places] == wanted
        rows = order[places[hit]]
        title_of = dict(zip(id_column.take(rows).to_pylist(), title_column.take(rows).to_pylist()))
        for one, _, text in batch:
            title = title_of.get(str(one))
            total, matched = total + 1, matched + (title is not None)
            yield one, "" if title is None or title.strip() == NO_TITLE else title, text
    if total and not matched:
        raise UserError(f"corpus.titles: '{name}' has no title for any of the {total:,} passages; its ids must be those of the passages")
    dropped["passages_without_title_entry"] += total - matched
