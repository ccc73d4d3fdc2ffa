"""Exact search of the stored shards: no index but the vectors themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simlm.config.embedding import Index as Settings
from simlm.files import write_json
from simlm.indexes.base import BlockSearch, Place, best_keys
from simlm.indexes.keys import keys_of_tensors, results_of
from simlm.indexes.nearest import Blocks, nearest
from simlm.vectors.shards import Shards
from simlm.vectors.vectors import Vectors

if TYPE_CHECKING:
    import torch

TOGETHER = 1024
"""Queries that a device compares with a block at once."""


def describe(shards: Shards, folder: Path, kind: str) -> dict[str, Any]:
    """Write the manifest of an index that is nothing but the shards."""
    about = shards.manifests[0]
    manifest = {
        "kind": kind,
        "rows": shards.rows,
        "dimension": shards.dimension,
        "model_sha256": about["model_sha256"],
        "corpus_sha256": about["corpus_sha256"],
        "shards": [manifest["vectors"]["sha256"] for manifest in shards.manifests],
    }
    write_json(Path(folder) / "manifest.json", manifest)
    return manifest


class ShardedSearch:
    """Exact search of the stored shards, block by block: memory holds a block of vectors, whatever the size of the corpus.

    Parameters
    ----------
    shards
        The vectors.
    block
        Vectors read at once.
    device
        torch's name of the device that multiplies, such as ``cuda``; None: the processor, with as many threads as faiss has.
    """

    blocks_at_once, reads_shards = 32, True
    """All vectors are read once for so many blocks of queries."""

    def __init__(self, shards: Shards, block: int = 65536, device: str | None = None) -> None:
        self.shards, self.block, self.device = shards, block, device

    @classmethod
    def build(cls, shards: Shards, folder: Path, settings: Settings, seed: int, threads: int) -> dict[str, Any]:
        """There is nothing to build."""
        return describe(shards, folder, "shards")

    @classmethod
    def extend(cls, old: Place, shards: Shards, folder: Path, settings: Settings, first: int, seed: int, threads: int) -> dict[str, Any]:
        """There is nothing that was learned."""
        return cls.build(shards, folder, settings, seed, threads)

    @classmethod
    def open(cls, place: Place, settings: Settings, device: str | None = None, verify: bool = False) -> ShardedSearch:
        """The shards, whether or not an index was built of them."""
        return cls(place.vectors(), device=device)

    def __call__(self, vectors: Vectors | np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores of the best ``k``, by ``(-score, row)``; shape (queries, k or all there are)."""
        blocks = ((first, Vectors.of(block).values) for first, block in self.shards.blocks(self.block))
        queries = np.ascontiguousarray(Vectors.of(vectors).values, np.float32)
        if self.device:
            return results_of(_search_on_device(blocks, queries, k, self.device))
        import faiss

        return results_of(nearest(blocks, queries, min(k, self.shards.rows), faiss.omp_get_max_threads()))


def _search_on_device(blocks: Blocks, queries: np.ndarray, k: int, device: str) -> np.ndarray:
    """Inner products in fp32 (torch keeps TF32 off unless told otherwise); results stay on the device until the end."""
    import torch

    asked = torch.from_numpy(queries).to(device)
    best = torch.zeros((len(queries), 0), dtype=torch.int64, device=device)
    for first, block in blocks:
        found = best_keys(_nearest_on_device(torch.from_numpy(block).to(device), first), asked, k, len(block))
        best = torch.cat([best, found], dim=1).sort(dim=1).values[:, :k]
    return best.cpu().numpy()


def _nearest_on_device(passages: torch.Tensor, first: int) -> BlockSearch:
    import torch

    def search(queries: torch.Tensor, wanted: int) -> torch.Tensor:
        """A slice of the queries at a time."""
        found = []
        for part in queries.split(TOGETHER):
            scores, rows = (part @ passages.T).topk(wanted, dim=1)
            found.append(keys_of_tensors(scores, rows + first).sort(dim=1).values)
        return torch.cat(found)

    return search
