"""A compressed index of token vectors, and the search of it in stages (ColBERTv2, arXiv 2112.01488; PLAID, arXiv 2205.09707).

A vector is the number of its nearest centroid and 1, 2 or 4 bits per number of what is left (:mod:`simlm.indexes.residual_codec`). A query
is searched in four stages: the passages of the centroids nearest to its vectors; those with the best scores by centroids alone, where
centroids far from every vector of the query are left out; a quarter of them by all centroids; MaxSim with the decompressed vectors.

No library of the lock does this: fast-plaid, and pylate on it, need one of the versions of torch up to 2.11 exactly and a torch that is
not the lock's, pylate's older index compiles C++ when it first searches, voyager and scann keep every vector of a token whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from simlm import hardware
from simlm.config.embedding import Index as Settings
from simlm.config.embedding import Residual
from simlm.digests import require_described
from simlm.errors import UserError
from simlm.files import atomic_file, read_manifest, sha256_file, write_json
from simlm.indexes.base import Place
from simlm.indexes.keys import NOTHING, keys_of, results_of
from simlm.indexes.late_interaction import maxsim
from simlm.indexes.residual_codec import ResidualCodec, clustered
from simlm.progress import progress, say
from simlm.vectors.blocks import npy_header
from simlm.vectors.shards import Shards
from simlm.vectors.vectors import Vectors

MANIFEST = "manifest.json"
FILES = ("centroids", "borders", "values", "codes", "residuals", "offsets", "lists", "list_offsets")
"""Arrays of the index, ``<name>.npy`` each: the codec's three; the code and packed residual of every vector and where each passage has
its own; and the passages of every centroid, sorted."""

HELD_OUT, MOST_HELD_OUT = 20, 50_000
"""One in so many sampled passages, and about so many vectors at most, set the buckets instead of the centroids."""

PASSAGES = 8192
"""Passages that are added together."""

TOGETHER = 2**18
"""Vectors whose scores are in memory at once."""


class Effort(NamedTuple):
    """How widely a query is searched.

    Attributes
    ----------
    cells
        Centroids per vector of the query whose passages are candidates.
    least_score
        Centroids that are less similar to all vectors of the query are left out of the first scores.
    candidates
        Passages that the first scores leave; the second leave a quarter.
    """

    cells: int
    least_score: float
    candidates: int


def effort(k: int, settings: Residual) -> Effort:
    """The settings', and PLAID's for ``k`` results where they leave it open.

    >>> effort(10, Residual()), effort(1000, Residual(cells=8)).candidates
    (Effort(cells=1, least_score=0.5, candidates=256), 4096)
    """
    usual = Effort(1, 0.5, 256) if k <= 10 else Effort(2, 0.45, 1024) if k <= 100 else Effort(4, 0.4, max(4 * k, 4096))
    return Effort(*(given if (given := getattr(settings, name)) is not None else value for name, value in usual._asdict().items()))


def usual_centroids(vectors: int) -> int:
    """The power of two below 16 √vectors.

    >>> usual_centroids(600_000_000), usual_centroids(3)
    (262144, 16)
    """
    return 2 ** int(math.log2(16 * math.sqrt(max(1, vectors))))


def usual_sample(passages: int) -> int:
    """Passages whose vectors make the centroids.

    >>> usual_sample(8_841_823), usual_sample(100)
    (521173, 100)
    """
    return min(passages, 1 + int(16 * math.sqrt(120 * passages)))


class ResidualIndex:
    """A compressed index of ragged vectors.

    Memory of a search is the lists of passages and a query's candidates; codes and residuals are mapped. Building holds the sample
    of vectors, and then 12 bytes per vector.
    """

    blocks_at_once, reads_shards = 1, False

    def __init__(self, arrays: dict[str, np.ndarray], settings: Residual) -> None:
        self.settings = settings
        self.codec = ResidualCodec(arrays["centroids"], arrays["borders"], arrays["values"])
        self.codes, self.residuals, self.offsets = arrays["codes"], arrays["residuals"], arrays["offsets"]
        self.lists, self.list_offsets = arrays["lists"], arrays["list_offsets"]

    @classmethod
    def build(cls, shards: Shards, folder: Path, settings: Settings, seed: int, threads: int) -> dict[str, Any]:
        """Cluster a sample of the vectors, compress all of them, and write the index."""
        assert settings.residual is not None
        device = hardware.gpu()
        return write_index(shards, Path(folder), settings.residual, seed, threads, centroids_of(shards, settings.residual, seed, threads, device), device)

    @classmethod
    def extend(cls, old: Place, shards: Shards, folder: Path, settings: Settings, first: int, seed: int, threads: int) -> dict[str, Any]:
        """Compress the vectors from row ``first`` on with the centroids and buckets that are there, and write all of them."""
        before, device = cls.open(old, settings), hardware.gpu()
        taken = before._taken(first)
        further = ((start, shards.take(np.arange(start, min(start + PASSAGES, shards.rows)))) for start in range(first, shards.rows, PASSAGES))
        return _write(shards, Path(folder), before.codec, seed, chain(taken, _compressed(before.codec, further, threads, device)))

    @classmethod
    def open(cls, place: Place, settings: Settings, device: str | None = None, verify: bool = False) -> ResidualIndex:
        """Map what :meth:`build` wrote; it is searched on the processor.

        Raises
        ------
        UserError
            If it is absent, damaged, or was built from another model or corpus.
        """
        folder, made_by = place.index, f"simlm build-index --model {place.index.name}"
        about = {"bytes": int, "sha256": str}
        shape = {"model_sha256": str, "corpus_sha256": str, "bits": int, "files": {f"{name}.npy": about for name in FILES}}
        manifest = read_manifest(folder / MANIFEST, "the manifest of a compressed index", made_by, shape)
        for field, what in (("model_sha256", f"another model than the '{folder.name}'"), ("corpus_sha256", "another corpus than the one")):
            if manifest[field] != getattr(place, field):
                raise UserError(f"{folder} was built from {what} that is there now; run simlm encode and {made_by} again")
        arrays = {name: _mapped(folder / f"{name}.npy", manifest["files"][f"{name}.npy"]["bytes"], made_by) for name in FILES}
        if verify:
            require_described(folder.parent.parent, folder, manifest, made_by)
        # Small, or read at every place by every query.
        whole = {name: np.asarray(arrays[name]).copy() for name in ("centroids", "borders", "values", "offsets", "list_offsets")}
        return cls({**arrays, **whole}, settings.residual or Residual())

    def __call__(self, vectors: Vectors | np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores of the best ``k`` that are found, by ``(-score, row)``; scores are MaxSim with the decompressed vectors."""
        import faiss

        queries = Vectors.of(vectors)
        width, best = min(k, len(self.offsets) - 1), np.full((len(queries), k), NOTHING, np.int64)

        def ask(i: int) -> np.ndarray:
            rows, scores = self.search(queries[i : i + 1].values, k)
            return np.sort(keys_of(scores, rows))[:width]

        # numpy works without Python's lock where it gathers and multiplies.
        with ThreadPoolExecutor(max(1, min(faiss.omp_get_max_threads(), len(queries)))) as pool:
            for i, found in enumerate(pool.map(ask, range(len(queries)))):
                best[i, : len(found)] = found
        return results_of(best[:, :width])

    def search(self, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """All passages that reach the last stage, and their scores.

        Parameters
        ----------
        query
            Vectors of one query, fp32, shape (tokens, dimension).

        Returns
        -------
        numpy.ndarray, numpy.ndarray
            Rows, ascending, int64; scores, fp32.
        """
        wide = effort(k, self.settings)
        if not len(query):
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        near = self.codec.centroids @ query.T
        rows = self._passages_near(near, wide.cells)
        if len(rows) > wide.candidates:
            rows = _best(rows, self._by_centroids(rows, near, near.max(1) >= wide.least_score), wide.candidates)
        if len(rows) > (kept := max(k, wide.candidates // 4)):
            rows = _best(rows, self._by_centroids(rows, near, None), kept)
        scores = [maxsim(Vectors.ragged(query, [len(query)]), self.vectors(part))[0] for part in self._together(rows)]
        return rows, np.concatenate([np.zeros(0, np.float32), *scores])

    def vectors(self, rows: np.ndarray) -> Vectors:
        """Decompressed vectors of some passages."""
        places, lengths = self._places(rows)
        return Vectors.ragged(self.codec.decompress(self.codes[places], self.residuals[places]), lengths)

    def _taken(self, rows: int) -> Iterator[Compressed]:
        """The first rows as they are."""
        for first in range(0, rows, PASSAGES):
            offsets = self.offsets[first : min(first + PASSAGES, rows) + 1]
            own = slice(int(offsets[0]), int(offsets[-1]))
            yield first, np.diff(offsets), np.asarray(self.codes[own]), np.asarray(self.residuals[own])

    def _passages_near(self, near: np.ndarray, cells: int) -> np.ndarray:
        """Passages with a vector in one of the cells nearest to each vector of the query; ``near`` has the shape (centroids, tokens)."""
        cells = min(cells, len(near))
        chosen = np.unique(np.argpartition(np.ascontiguousarray(-near.T), cells - 1, axis=1)[:, :cells])
        found = np.zeros(len(self.offsets) - 1, bool)
        for first, last in zip(self.list_offsets[chosen], self.list_offsets[chosen + 1]):
            found[self.lists[first:last]] = True
        return np.flatnonzero(found)

    def _by_centroids(self, rows: np.ndarray, near: np.ndarray, counted: np.ndarray | None) -> np.ndarray:
        """MaxSim with the centroids instead of the vectors, only those that are ``counted``; passages without any come last."""
        scores = []
        for part in self._together(rows):
            places, lengths = self._places(part)
            codes, owner = np.asarray(self.codes[places]), np.repeat(np.arange(len(part)), lengths)
            if counted is not None:
                kept = counted[codes]
                codes, owner = codes[kept], owner[kept]
            own = np.full(len(part), -np.inf, np.float32)
            if len(codes):
                starts = np.flatnonzero(np.diff(owner, prepend=-1))
                own[owner[starts]] = np.maximum.reduceat(near[codes], starts, axis=0).sum(1)
            scores.append(own)
        return np.concatenate(scores)

    def _places(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the vectors of some passages are, and how many each has."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        ends = np.cumsum(lengths)
        return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths), lengths

    def _together(self, rows: np.ndarray) -> list[np.ndarray]:
        """The rows in parts of about :data:`TOGETHER` vectors."""
        ends = np.cumsum(self.offsets[rows + 1] - self.offsets[rows])
        return np.split(rows, np.flatnonzero(np.diff(ends // TOGETHER)) + 1)


def _best(rows: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` rows with the best scores, earlier rows first where they are equal; ascending."""
    return np.sort(rows[np.argsort(-scores, kind="stable")[:count]])


def centroids_of(shards: Shards, settings: Residual, seed: int, threads: int, device: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Centroids of a sample of passages, and the vectors of the sample that were held out of them for the buckets."""
    passages = min(settings.sample or usual_sample(shards.rows), shards.rows)
    chosen = np.random.default_rng(seed).choice(shards.rows, passages, replace=False)
    each = max(1, shards.vectors // max(1, shards.rows))
    apart = min(passages // HELD_OUT, -(-MOST_HELD_OUT // each))
    learned, held_out = (shards.take(np.sort(rows)).values for rows in (chosen[apart:], chosen[:apart]))
    if not len(learned):
        raise UserError(f"{shards.folder} has no vector of a token to learn an index from; look at the passages, or search exactly (residual: null)")
    count = min(settings.centroids or usual_centroids(shards.vectors), 2 ** int(math.log2(len(learned))))
    say(f"Clustering {len(learned):,} vectors of {passages:,} passages around {count:,} centroids.")
    return clustered(learned, count, settings.iterations, seed, threads, device), held_out if len(held_out) else learned


def write_index(
    shards: Shards, folder: Path, settings: Residual, seed: int, threads: int, learned: tuple[np.ndarray, np.ndarray], device: str | None = None
) -> dict[str, Any]:
    """Compress all vectors with what :func:`centroids_of` has learned and write the index, its manifest last, which is returned."""
    codec = ResidualCodec.fit(*learned, settings.bits, threads, device)
    blocks = progress(shards.blocks(), None, "Compressing vectors", unit="blocks")
    return _write(shards, folder, codec, seed, _compressed(codec, blocks, threads, device))


Compressed = tuple[int, np.ndarray, np.ndarray, np.ndarray]
"""First row of consecutive passages, their numbers of vectors, codes and packed residuals."""


def _compressed(codec: ResidualCodec, blocks: Iterable[tuple[int, Vectors]], threads: int, device: str | None) -> Iterator[Compressed]:
    for first, block in blocks:
        yield first, block.lengths, *codec.compress(block.values, threads, device)


def _write(shards: Shards, folder: Path, codec: ResidualCodec, seed: int, blocks: Iterable[Compressed]) -> dict[str, Any]:
    """Write the compressed vectors, in the order of their passages, and the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    width = -(-shards.dimension * codec.bits // 8)
    codes, pairs, lengths = np.empty(shards.vectors, np.int32), [], []
    try:
        with atomic_file(folder / "residuals.npy") as temporary, open(temporary, "wb") as stream:
            stream.write(npy_header(np.dtype(np.uint8), (shards.vectors, width)))
            done = 0
            for first, counts, own, packed in blocks:
                stream.write(packed.tobytes())
                codes[done : done + len(own)] = own
                rows = np.repeat(np.arange(first, first + len(counts)), counts)
                pairs.append(np.unique((own.astype(np.int64) << 32) | rows))
                lengths.append(counts)
                done += len(own)
        listed = np.sort(np.concatenate([np.zeros(0, np.int64), *pairs]))
        ends = np.searchsorted(listed, np.arange(len(codec.centroids) + 1, dtype=np.int64) << 32)
        arrays = {
            "centroids": codec.centroids,
            "borders": codec.borders,
            "values": codec.values,
            "codes": codes,
            "offsets": np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)]),
            "lists": (listed & 0xFFFFFFFF).astype(np.int32),
            "list_offsets": ends.astype(np.int64),
        }
        for name, array in arrays.items():
            with atomic_file(folder / f"{name}.npy") as temporary, open(temporary, "wb") as stream:
                np.save(stream, array)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error}); free space or choose another place") from None
    about, files = shards.manifests[0], {f"{name}.npy": folder / f"{name}.npy" for name in FILES}
    manifest = {
        "kind": f"{codec.bits}-bit residuals of {len(codec.centroids):,} centroids",
        "bits": codec.bits,
        "centroids": len(codec.centroids),
        "rows": shards.rows,
        "vectors": shards.vectors,
        "dimension": shards.dimension,
        "seed": seed,
        "model_sha256": about["model_sha256"],
        "corpus_sha256": about["corpus_sha256"],
        "files": {name: {"bytes": file.stat().st_size, "sha256": sha256_file(file)} for name, file in files.items()},
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def _mapped(file: Path, expected: int, made_by: str) -> np.ndarray:
    size = file.stat().st_size if file.exists() else 0
    if size != expected:
        raise UserError(f"{file} is truncated or missing ({size:,} bytes instead of {expected:,}); delete {file.parent} and run {made_by} again")
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is damaged ({' '.join(str(error).split())[:120]}); delete {file.parent} and run {made_by} again") from None
