"""Parquet files of lists per query (runs, negatives, teacher scores): written and streamed by row group, opened with clear errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simlm.errors import UserError
from simlm.files import atomic_file

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


ROW_GROUP = 1024
"""Queries per row group; readers and writers hold one at a time."""


def write_lists(path: str | Path, schema: pa.Schema, queries: Iterable[Sequence[Any]], about: Callable[[], dict[str, Any]]) -> int:
    """Write a file of lists per query, one row group in memory at a time.

    Parameters
    ----------
    schema
        A column of query ids, then columns of lists of numbers.
    queries
        A query id and its lists, in the order of the columns.
    about
        What the file says of itself (schema metadata ``simlm``), asked for when all queries are written.

    Returns
    -------
    int
        Number of queries.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    written, remaining = 0, iter(queries)
    # Without a stored Arrow schema the file's own keys, which can be written last, become the schema's metadata.
    with atomic_file(path) as temporary, pq.ParquetWriter(temporary, schema, write_page_checksum=True, store_schema=False) as writer:
        while group := list(islice(remaining, ROW_GROUP)):
            columns = [pa.array([query_id for query_id, *_ in group], pa.string())]
            for place, field in enumerate(list(schema)[1:], 1):
                lists = [query[place] for query in group]
                values = pa.array(np.concatenate(lists).astype(field.type.value_type.to_pandas_dtype(), copy=False))
                columns.append(pa.ListArray.from_arrays(pa.array(np.cumsum([0, *map(len, lists)]), pa.int32()), values))
            writer.write_table(pa.table(columns, schema=schema), row_group_size=ROW_GROUP)
            written += len(group)
        writer.add_key_value_metadata({"simlm": json.dumps(about(), sort_keys=True)})
    return written


@contextmanager
def open_lists(path: str | Path, schema: pa.Schema, what: str, made_by: str) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file that must have the columns of ``schema``.

    Raises
    ------
    UserError
        If it is missing, truncated (also while it is being read) or of another form.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            found = file.schema_arrow
            if found.names != schema.names or found.types != schema.types:
                raise UserError(
                    f"{path} is not {what}: its columns are {', '.join(f'{n} ({t})' for n, t in zip(found.names, found.types))}; run {made_by} again"
                )
            yield file
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run {made_by} first") from None
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is truncated or not Parquet ({str(error).splitlines()[0]}); delete it and run {made_by} again") from None


def metadata(file: pq.ParquetFile) -> dict[str, Any]:
    """What the writer noted about the file (schema metadata ``simlm``); empty when there is nothing."""
    import pyarrow as pa

    try:
        about = json.loads((file.schema_arrow.metadata or {}).get(b"simlm", b"{}"))
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict):
        raise pa.ArrowInvalid("its note 'simlm' is not a JSON object")
    return about


def iter_lists(file: pq.ParquetFile, plain: list[str], lists: list[str]) -> Iterator[tuple[list[list], list[list[np.ndarray]]]]:
    """Yield per row group the values of the plain columns and, as NumPy views, the lists of the list columns."""
    import pyarrow as pa

    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=plain + lists).combine_chunks()
        for name in plain:
            if table[name].null_count:
                raise pa.ArrowInvalid(f"its column '{name}' holds nulls")
        yield [table[name].to_pylist() for name in plain], [_views(table[name].combine_chunks()) for name in lists]


def _views(column: pa.ListArray) -> list[np.ndarray]:
    values, offsets = column.values.to_numpy(zero_copy_only=True), column.offsets.to_numpy()
    return [values[start:end] for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist())]
