"""Ids and vectors as Parquet, for what reads them elsewhere.

Anserini (``ParquetDenseVectorCollection``) asks for the columns ``docid`` (a string) and ``vector`` (a list of floats whose Parquet element
is called ``element``), LanceDB for a column of lists of fixed size of float32, ``datasets`` for files of one schema: one form serves all three.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simlm.files import atomic_file
from simlm.vectors.vectors import Vectors
from simlm.vectors.written import Blocks

if TYPE_CHECKING:
    import pyarrow as pa

ID_COLUMNS = {"passage": "docid", "query": "query_id"}
VECTOR = "vector"


def vector_column(vectors: Vectors) -> pa.Array:
    """Vectors as lists of fixed size; of texts with any number of them, lists of such lists.

    >>> vector_column(Vectors(np.eye(2, dtype=np.float32))).type, vector_column(Vectors(np.eye(2, dtype=np.float32), np.array([0, 2]))).to_pylist()
    (FixedSizeListType(fixed_size_list<item: float>[2]), [[[1.0, 0.0], [0.0, 1.0]]])
    """
    import pyarrow as pa

    values = np.ascontiguousarray(vectors.values, np.float32)
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    return fixed if vectors.offsets is None else pa.ListArray.from_arrays(pa.array(vectors.offsets, pa.int32()), fixed)


def write_parquet(file: Path, blocks: Blocks, side: str = "passage") -> int:
    """One file of all texts; returns their number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, writer = 0, None
    with atomic_file(file) as temporary:
        try:
            for ids, vectors in blocks:
                column = vector_column(vectors)
                if writer is None:
                    writer = pq.ParquetWriter(temporary, pa.schema([(ID_COLUMNS[side], pa.string()), (VECTOR, column.type)]))
                writer.write_batch(pa.record_batch([pa.array(ids, pa.string()), column], schema=writer.schema))
                rows += len(ids)
        finally:
            if writer is not None:
                writer.close()
    return rows
