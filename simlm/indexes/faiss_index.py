"""The faiss index over a model's embedded shards: inner product of unit vectors, ids are rows of the corpus.

``Flat`` is exact. Any other factory string (https://github.com/facebookresearch/faiss/wiki/The-index-factory) that knows the inner
product serves too: ``IVF1024,SQfp16``, ``HNSW32``, ``OPQ32,IVF4096,PQ32`` …
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simlm.config.embedding import Index as Settings
from simlm.errors import UserError
from simlm.files import atomic_file, read_manifest, sha256_file, write_json
from simlm.indexes.base import Place, best_keys
from simlm.indexes.keys import keys_of, results_of
from simlm.progress import progress, say
from simlm.vectors.shards import Shards
from simlm.vectors.vectors import Vectors

if TYPE_CHECKING:
    import faiss


FILE, MANIFEST = "index.faiss", "manifest.json"

SLOW_TO_SHARE = ("HNSW", "NSG")
"""Graph indexes differ from build to build when several threads insert; they are built by one."""


def build_index(
    shards: Shards, folder: str | Path, factory: str = "Flat", *, train_vectors: int = 200_000, nprobe: int | None = None, seed: int = 42, threads: int = 1
) -> dict[str, Any]:
    """Put all vectors into a faiss index and write it.

    Parameters
    ----------
    shards
        The vectors.
    folder
        Gets ``index.faiss`` and then ``manifest.json``.
    factory
        faiss factory string.
    train_vectors
        Most vectors from which an index with a trained part (IVF, PQ, SQ8 …) learns, drawn without replacement by ``seed``.
    nprobe
        Cells visited by an IVF index, stored as its default.
    threads
        Threads of faiss.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    UserError
        If faiss does not understand the factory string, or there are too few vectors to train it.
    """
    with faiss_threads(1 if any(name in factory for name in SLOW_TO_SHARE) else threads):
        index, trained = _filled(shards, factory, train_vectors, seed)
    if nprobe is not None:
        _set_nprobe(index, nprobe, factory)
    about = shards.manifests[0]
    manifest = {
        "factory": factory,
        "rows": int(index.ntotal),
        "dimension": shards.dimension,
        "metric": "inner product",
        "nprobe": nprobe,
        "trained_on": trained,
        "seed": seed,
        "model_sha256": about["model_sha256"],
        "corpus_sha256": about["corpus_sha256"],
    }
    return _write(index, Path(folder), manifest)


def load_index(
    folder: str | Path,
    *,
    model_sha256: str,
    corpus_sha256: str,
    nprobe: int | None = None,
    ef_search: int | None = None,
    mapped: bool = True,
    verify: bool = False,
) -> faiss.Index:
    """Open the index of a model.

    Parameters
    ----------
    folder
        ``Paths.index(model)``.
    model_sha256, corpus_sha256
        What it must have been built from.
    nprobe
        Cells visited by an IVF index; default: what the index holds.
    ef_search
        Candidates that a search of an HNSW index keeps; default: faiss's (16).
    mapped
        Leave the vectors on disk and page them in as they are read, where faiss can; otherwise read all into memory.
    verify
        Compare the file with its digest first. It costs a pass over the file, which a search of whole splits makes anyway.

    Raises
    ------
    UserError
        If it is absent, truncated, or was built from another model or corpus.
    """
    folder = Path(folder)
    made_by = f"simlm build-index --model {folder.name}"
    shape = {"factory": str, "model_sha256": str, "corpus_sha256": str, "file": {"bytes": int, "sha256": str}}
    manifest, file = read_manifest(folder / MANIFEST, "the manifest of an index", made_by, shape), folder / FILE
    for field, given, what in (
        ("model_sha256", model_sha256, f"another model than the '{folder.name}'"),
        ("corpus_sha256", corpus_sha256, "another corpus than the one"),
    ):
        if manifest[field] != given:
            raise UserError(f"{folder} was built from {what} that is there now; run simlm encode and {made_by} again")
    size = file.stat().st_size if file.exists() else 0
    if size != manifest["file"]["bytes"]:
        raise UserError(f"{file} is truncated or missing ({size:,} bytes instead of {manifest['file']['bytes']:,}); delete {folder} and run {made_by} again")
    if verify and sha256_file(file) != manifest["file"]["sha256"]:
        raise UserError(f"{file} is not what its manifest describes (its sha256 differs); delete {folder} and run {made_by} again")
    try:
        index = _read(file, mapped)
    except RuntimeError as error:
        raise UserError(f"{file} is damaged ({_reason(error)}); delete {folder} and run {made_by} again") from None
    if nprobe is not None:
        _set_nprobe(index, nprobe, manifest["factory"])
    if ef_search is not None:
        _set_ef_search(index, ef_search, manifest["factory"])
    return index


def extend_index(old: Place, shards: Shards, folder: Path, settings: Settings, first: int, seed: int, threads: int) -> dict[str, Any]:
    """Write the index of a corpus that begins with that of another index.

    Cells and codebooks stay. Vectors from row ``first`` on are taken out and put in anew; a graph, from which nothing can be taken, gets them in
    their places. An index that allows neither is built anew of all vectors.

    Returns
    -------
    dict
        The manifest.
    """
    whole = {"model_sha256": old.model_sha256, "corpus_sha256": old.corpus_sha256}
    index = load_index(old.index, nprobe=settings.nprobe, mapped=False, **whole)
    before = read_manifest(old.index / MANIFEST, "the manifest of an index", "simlm build-index", {"factory": str})
    factory = before["factory"]
    with faiss_threads(1 if any(name in factory for name in SLOW_TO_SHARE) else threads):
        kept = _replaced(index, shards, first)
        if kept is None:
            say(f"An index {factory} cannot be added to; it is built anew of all vectors.")
            return build_index(shards, folder, factory, train_vectors=settings.train_vectors, nprobe=settings.nprobe, seed=seed, threads=threads)
        for start in range(kept, shards.rows, 65536):
            index.add(shards.take(np.arange(start, min(start + 65536, shards.rows))).values)
    manifest = {name: value for name, value in before.items() if name not in ("file", "faiss")}
    return _write(index, folder, {**manifest, "rows": int(index.ntotal), "corpus_sha256": shards.manifests[0]["corpus_sha256"]})


def _replaced(index: faiss.Index, shards: Shards, first: int) -> int | None:
    """Make the rows from ``first`` on those of ``shards``; returns how many rows the index has then, or None if it cannot be done."""
    import faiss

    there = int(index.ntotal)
    if first == there:
        return there
    try:
        index.remove_ids(faiss.IDSelectorRange(first, there))
        return first
    except RuntimeError:  # not implemented
        storage = faiss.downcast_index(getattr(faiss.downcast_index(index), "storage", None) or index)
    if not hasattr(storage, "codes") or not hasattr(storage, "code_size"):
        return None
    codes = storage.sa_encode(shards.take(np.arange(first, there)).values)
    faiss.rev_swig_ptr(storage.codes.data(), storage.codes.size())[first * storage.code_size : there * storage.code_size] = codes.ravel()
    return there


class IndexSearch:
    """Search of a faiss index.

    Attributes
    ----------
    blocks_at_once
        Blocks of queries that are searched together.

    >>> import faiss
    >>> index = faiss.IndexFlatIP(2); index.add(np.array([[1, 0], [0, 1], [1, 0]], np.float32))
    >>> IndexSearch(index)(np.array([[1, 0]], np.float32), 2)[0]
    array([[0, 2]])
    """

    blocks_at_once, reads_shards = 1, False

    def __init__(self, index: faiss.Index) -> None:
        self.index = index

    @classmethod
    def build(cls, shards: Shards, folder: Path, settings: Settings, seed: int, threads: int) -> dict[str, Any]:
        """See :func:`build_index`."""
        return build_index(shards, folder, settings.factory, train_vectors=settings.train_vectors, nprobe=settings.nprobe, seed=seed, threads=threads)

    @classmethod
    def extend(cls, old: Place, shards: Shards, folder: Path, settings: Settings, first: int, seed: int, threads: int) -> dict[str, Any]:
        """See :func:`extend_index`."""
        return extend_index(old, shards, folder, settings, first, seed, threads)

    @classmethod
    def open(cls, place: Place, settings: Settings, device: str | None = None, verify: bool = False) -> IndexSearch:
        """See :func:`load_index`; it is searched on the processor."""
        whole = {"model_sha256": place.model_sha256, "corpus_sha256": place.corpus_sha256}
        return cls(load_index(place.index, nprobe=settings.nprobe, ef_search=settings.ef_search, verify=verify, **whole))

    def __call__(self, vectors: Vectors | np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores of the best ``k``, by ``(-score, row)``; shape (queries, k or all there are), row -1 and score -inf where there are fewer."""

        def search(queries: np.ndarray, wanted: int) -> np.ndarray:
            return np.sort(keys_of(*self.index.search(queries, wanted)), axis=1)

        return results_of(best_keys(search, np.ascontiguousarray(Vectors.of(vectors).values, np.float32), k, int(self.index.ntotal)))


@contextlib.contextmanager
def faiss_threads(threads: int) -> Iterator[None]:
    """Let faiss use ``threads`` threads within the block, and never more than there are cores."""
    import faiss

    from simlm.hardware import available_cores

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(max(1, min(threads, available_cores())))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _filled(shards: Shards, factory: str, train_vectors: int, seed: int) -> tuple[faiss.Index, int]:
    """Index with all vectors, and the number of those it was trained on."""
    index, trained, size = _create(shards.dimension, factory), 0, 65536
    try:
        if not index.is_trained:
            rows = np.sort(np.random.default_rng(seed).choice(shards.rows, min(train_vectors, shards.rows), replace=False))
            trained = len(rows)
            say(f"Training the index {factory} on {trained:,} vectors.")
            index.train(shards.take(rows).values)
        reserve(index, shards.rows)
        for _, vectors in progress(shards.blocks(size), None, "Indexing vectors", unit=f"blocks of {size}"):
            index.add(vectors.values)
    except RuntimeError as error:
        raise UserError(f"index.factory '{factory}' cannot take these {shards.rows:,} vectors of {shards.dimension} numbers ({_reason(error)})") from None
    return index, trained


def reserve(index: faiss.Index, rows: int) -> bool:
    """Make room for ``rows`` vectors at once where an index keeps them in one array; returns whether it does.

    faiss lets the array grow by doubling and copies it each time, so that an index would need up to twice its size. The array is
    made long here; the first ``add`` cuts it to what is there, but its memory stays.
    """
    import faiss

    index = faiss.downcast_index(index)
    inner = [getattr(index, name) for name in ("index", "storage", "base_index", "refine_index") if hasattr(index, name)]
    if inner:
        return sum(reserve(one, rows) for one in inner if one is not None) > 0
    if not hasattr(index, "codes") or not hasattr(index, "code_size"):
        return False
    index.codes.resize(rows * index.code_size)
    return True


def _write(index: faiss.Index, folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Write the index, then the manifest with its size and digest."""
    import faiss

    file = folder / FILE
    with atomic_file(file) as temporary:
        try:
            # Given a path, faiss only prints that the disk was full when it closed the file, and goes on.
            with open(temporary, "wb") as stream:
                faiss.write_index(index, faiss.PyCallbackIOWriter(stream.write))
        except RuntimeError as error:
            raise UserError(f"{file}: cannot be written ({_reason(error)}); free space or choose another place") from None
        # The old manifest stays until the new index is whole, and goes before it would describe another file.
        (folder / MANIFEST).unlink(missing_ok=True)
    manifest = {**manifest, "faiss": faiss.__version__, "file": {"bytes": file.stat().st_size, "sha256": sha256_file(file)}}
    write_json(folder / MANIFEST, manifest)
    return manifest


def _create(dimension: int, factory: str) -> faiss.Index:
    import faiss

    try:
        return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise UserError(f"index.factory '{factory}' is not an index for inner products of {dimension} numbers ({_reason(error)}); `Flat` is exact") from None


def _read(file: Path, mapped: bool) -> faiss.Index:
    import faiss

    if mapped:
        # Kinds that cannot be mapped are refused by faiss or read into memory.
        with contextlib.suppress(RuntimeError):
            return faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
    return faiss.read_index(str(file))


def _set_nprobe(index: faiss.Index, nprobe: int, factory: str) -> None:
    import faiss

    try:
        faiss.extract_index_ivf(index).nprobe = nprobe
    except RuntimeError:
        raise UserError(f"index.nprobe is {nprobe}, but the index '{factory}' has no cells to visit; remove nprobe or choose an IVF index") from None


def _set_ef_search(index: faiss.Index, ef_search: int, factory: str) -> None:
    """Set the width of an HNSW search; also where HNSW only finds the cells of an IVF index."""
    import faiss

    if "HNSW" not in factory:
        raise UserError(f"index.ef_search is {ef_search}, but the index '{factory}' is no graph; remove ef_search or choose an HNSW index")
    faiss.ParameterSpace().set_index_parameter(index, "quantizer_efSearch" if "IVF" in factory else "efSearch", ef_search)


def _reason(error: RuntimeError) -> str:
    """The part of a faiss message that a person can use."""
    text = " ".join(str(error).split())
    return text.rsplit("Error: ", 1)[-1].rsplit(".cpp:", 1)[-1].lstrip("0123456789: ")
