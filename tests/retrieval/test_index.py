"""faiss indexes over stored shards: exact where they say so, deterministic, refused when truncated or foreign."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise

import faiss
import numpy as np
import pytest

from simlm.errors import UserError
from simlm.files import read_json, sha256_file
from simlm.indexes.base import best_keys
from simlm.indexes.faiss_index import IndexSearch, build_index, faiss_threads, load_index, reserve
from simlm.indexes.from_shards import ShardedSearch
from simlm.indexes.keys import keys_of, results_of
from simlm.vectors.shards import Shards

ROWS, DIMENSION = 1500, 32
MODEL, CORPUS = "a" * 64, "b" * 64


def unit(random, rows, dimension=DIMENSION):
    vectors = random.standard_normal((rows, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def store_shards(folder, vectors, shards, dtype="fp32"):
    """Shards as ``simlm encode`` leaves them."""
    folder.mkdir(parents=True)
    bounds = np.linspace(0, len(vectors), shards + 1).astype(int).tolist()
    for shard, (first, last) in enumerate(pairwise(bounds), 1):
        file = folder / f"{shard}-of-{shards}.npy"
        np.save(file, vectors[first:last].astype({"fp32": np.float32, "fp16": np.float16}[dtype]))
        manifest = {
            "first_row": first, "rows": last - first, "corpus_rows": len(vectors), "dimension": vectors.shape[1], "dtype": dtype, "precision": "fp32",
            "model_sha256": MODEL, "corpus_sha256": CORPUS, "vectors": {"file": file.name, "bytes": file.stat().st_size, "sha256": sha256_file(file)},
        }  # fmt: skip
        (folder / f"{shard}-of-{shards}.json").write_text(json.dumps(manifest))
    return Shards(folder, shards)


@pytest.fixture
def vectors():
    return unit(np.random.default_rng(0), ROWS)


@pytest.fixture
def queries():
    return unit(np.random.default_rng(1), 40)


def reference(queries, vectors, k):
    """Best rows by (-score, row) in float64."""
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


def load(folder, **options):
    return load_index(folder, model_sha256=MODEL, corpus_sha256=CORPUS, **options)


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_flat_is_exact(tmp_path, vectors, queries, shards, dtype):
    stored = vectors.astype(np.float16).astype(np.float32) if dtype == "fp16" else vectors
    manifest = build_index(store_shards(tmp_path / "e", vectors, shards, dtype), tmp_path / "i")
    assert manifest["rows"] == ROWS
    rows, scores = IndexSearch(load(tmp_path / "i"))(queries, 50)
    expected, exact = reference(queries, stored, 50)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(scores, exact, atol=1e-6)


def test_the_number_of_shards_leaves_no_trace(tmp_path, vectors):
    for shards in (1, 3):
        build_index(store_shards(tmp_path / f"e{shards}", vectors, shards), tmp_path / f"i{shards}", "IVF8,SQfp16", train_vectors=500)
    assert (tmp_path / "i1" / "index.faiss").read_bytes() == (tmp_path / "i3" / "index.faiss").read_bytes()


def test_searching_the_shards_equals_the_flat_index(tmp_path, vectors, queries, monkeypatch):
    monkeypatch.setattr(faiss.cvar, "distance_compute_blas_threshold", 1)  # for so few queries faiss would add up in another order
    vectors = np.concatenate([vectors, vectors[:300]])  # exact duplicates: ties in every result
    shards = store_shards(tmp_path / "e", vectors, 3)
    build_index(shards, tmp_path / "i")
    for k in (1, 10, 100, 5000):
        rows, scores = IndexSearch(load(tmp_path / "i"))(queries, k)
        for block in (100, 700, 65536):
            again = ShardedSearch(shards, block)(queries, k)
            np.testing.assert_array_equal(again[0], rows)
            np.testing.assert_array_equal(again[1], scores)
    assert rows.shape == (40, 1800)


def test_searching_the_shards_gives_the_same_bits_whatever_is_searched_together(tmp_path, queries):
    """More queries than a thread takes and more passages than a product has, in an order that lets each settle the scores again and again."""
    random = np.random.default_rng(2)
    vectors = unit(random, 9000)
    vectors = vectors[np.argsort(vectors @ queries[0])]
    shards, many = store_shards(tmp_path / "e", vectors, 2), np.concatenate([queries, unit(random, 700)])
    exact = many.astype(np.float64) @ vectors.astype(np.float64).T
    for k in (3, 700):
        rows, scores = ShardedSearch(shards)(many, k)
        np.testing.assert_allclose(scores, -np.sort(-exact, axis=1)[:, :k], atol=1e-6)
        np.testing.assert_allclose(np.take_along_axis(exact, rows, axis=1), scores, atol=1e-6)
        with faiss_threads(2):
            for some, block in ((slice(0, 1), 65536), (slice(690, 740), 1001), (slice(None), 300)):
                again = ShardedSearch(shards, block)(many[some], k)
                np.testing.assert_array_equal(again[0], rows[some])
                np.testing.assert_array_equal(again[1], scores[some])


def test_search_with_torch_is_exact(tmp_path, vectors, queries):
    """What a GPU would do, on the processor: the best passages, equal ones by row, whatever the block."""
    vectors = np.concatenate([vectors, vectors[:300]])
    shards = store_shards(tmp_path / "e", vectors, 3)
    exact = queries.astype(np.float64) @ vectors.astype(np.float64).T
    for k, block in ((10, 100), (100, 700), (1800, 65536)):
        rows, scores = ShardedSearch(shards, block, "cpu")(queries, k)
        best = -np.sort(-exact, axis=1)[:, :k]
        np.testing.assert_allclose(scores, best, atol=1e-6)
        np.testing.assert_allclose(np.take_along_axis(exact, rows, axis=1), best, atol=1e-6)
    place = np.argsort(rows, axis=1)
    assert (place[:, :300] < place[:, 1500:]).all()


def test_blocks_of_the_shards_are_the_stored_vectors(tmp_path, vectors):
    for dtype in ("fp32", "fp16"):
        shards = store_shards(tmp_path / dtype, vectors, 3, dtype)
        stored = vectors.astype({"fp32": np.float32, "fp16": np.float16}[dtype]).astype(np.float32)
        for size in (1, 7, 499, 65536) if dtype == "fp32" else (499,):
            blocks = list(shards.blocks(size))
            assert [first for first, _ in blocks] == np.cumsum([0] + [len(block) for _, block in blocks[:-1]]).tolist()
            assert max(len(block) for _, block in blocks) <= size
            np.testing.assert_array_equal(np.concatenate([block.values for _, block in blocks]), stored)


# Least share of the ten exact neighbours of random vectors (hard for every approximation) that must be found.
KINDS = {
    "IVF16,Flat": 0.5, "IVF16,SQfp16": 0.5, "SQfp16": 0.95, "SQ8": 0.85, "HNSW16": 0.85, "PQ16x4": 0.1, "OPQ8,IVF4,PQ8x4": 0.05,
    "PCA16,Flat": 0.1, "SQ8,RFlat": 0.95,
}  # fmt: skip


@pytest.mark.parametrize("factory", KINDS)
@pytest.mark.parametrize("mapped", [True, False])
def test_other_kinds_find_neighbours(tmp_path, vectors, queries, factory, mapped):
    build_index(store_shards(tmp_path / "e", vectors, 2), tmp_path / "i", factory, train_vectors=1000)
    index = load(tmp_path / "i", mapped=mapped, nprobe=8 if factory.startswith("IVF16") else None)
    rows, scores = IndexSearch(index)(queries, 10)
    expected, _ = reference(queries, vectors, 10)
    found = np.mean([len(set(mine) & set(theirs)) / 10 for mine, theirs in zip(rows.tolist(), expected.tolist())])
    assert found >= KINDS[factory]
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize("factory", ["HNSW16", "IVF8,PQ8x4"])
def test_two_builds_give_the_same_file(tmp_path, vectors, factory):
    shards = store_shards(tmp_path / "e", vectors, 2)
    digests = {
        build_index(shards, tmp_path / name, factory, train_vectors=800, seed=3, threads=threads)["file"]["sha256"] for name, threads in (("a", 1), ("b", 2))
    }
    assert len(digests) == 1


def test_nprobe_of_the_build_and_of_the_search(tmp_path, vectors, queries):
    build_index(store_shards(tmp_path / "e", vectors, 1), tmp_path / "i", "IVF16,Flat", train_vectors=1000, nprobe=3)
    assert faiss.extract_index_ivf(load(tmp_path / "i")).nprobe == 3
    everywhere = load(tmp_path / "i", nprobe=16)
    np.testing.assert_array_equal(IndexSearch(everywhere)(queries, 10)[0], reference(queries, vectors, 10)[0])
    # One cell holds fewer passages than asked for: the rest is -1, never a wrong row.
    rows, scores = IndexSearch(load(tmp_path / "i", nprobe=1))(queries, 1000)
    assert (rows == -1).any()
    assert np.isneginf(scores[rows == -1]).all()


@pytest.mark.parametrize("factory", ["HNSW8", "HNSW8,SQ8", "IVF16_HNSW8,Flat"])
def test_ef_search_widens_the_search_of_a_graph(tmp_path, vectors, queries, factory):
    build_index(store_shards(tmp_path / "e", vectors, 1), tmp_path / "i", factory, train_vectors=1000, nprobe=4 if "IVF" in factory else None)
    expected, _ = reference(queries, vectors, 10)

    def recall(ef_search):
        rows, _ = IndexSearch(load(tmp_path / "i", ef_search=ef_search))(queries, 10)
        return np.mean([len(set(mine) & set(theirs)) for mine, theirs in zip(rows.tolist(), expected.tolist())])

    narrow, wide = recall(4), recall(400)
    assert wide >= narrow
    if factory == "HNSW8":
        assert wide > narrow
        assert wide == 10  # more candidates than a graph of this size has passages to offer: as good as exact


def test_ef_search_of_an_index_without_a_graph_is_refused(tmp_path, vectors):
    build_index(store_shards(tmp_path / "e", vectors, 1), tmp_path / "i", "SQfp16")
    with pytest.raises(UserError, match="ef_search is 64, but the index 'SQfp16' is no graph"):
        load(tmp_path / "i", ef_search=64)


@pytest.mark.parametrize("factory", ["Flat", "SQfp16", "PQ4x4", "HNSW8", "PCA16,SQ8", "SQ8,RFlat"])
def test_room_for_all_vectors_is_made_once(vectors, factory):
    """Growing by doubling would need twice the memory of the index; what is written stays the same."""
    grown, reserved = (faiss.index_factory(DIMENSION, factory, faiss.METRIC_INNER_PRODUCT) for _ in range(2))
    for index in (grown, reserved):
        index.train(vectors)
    assert reserve(reserved, ROWS)
    assert reserved.ntotal == 0
    for index in (grown, reserved):
        addresses = set()
        for first in range(0, ROWS, 100):
            index.add(vectors[first : first + 100])
            addresses.add(address(index))
    assert len(addresses) == 1
    assert faiss.serialize_index(grown).tobytes() == faiss.serialize_index(reserved).tobytes()


def address(index):
    """Where an index keeps its vectors."""
    index = faiss.downcast_index(index)
    for name in ("index", "storage", "base_index"):
        if hasattr(index, name):
            return address(getattr(index, name))
    return int(index.codes.data())


def searching(passages, calls):
    """A search of given scores that prefers large rows among equal ones, as none promises not to."""

    def search(queries, k):
        calls.append((queries[:, 0].tolist(), k))
        scores = passages(queries)
        order = np.stack([np.lexsort((-np.arange(scores.shape[1]), -line))[:k] for line in scores])
        return np.sort(keys_of(np.take_along_axis(scores, order, axis=1), order), axis=1)

    return search


def test_ties_at_the_cut_go_to_the_smaller_row():
    calls = []
    search = searching(lambda queries: queries @ np.array([[0.5] * 300 + [1.0] + [0.25] * 99], np.float32), calls)
    rows, scores = results_of(best_keys(search, np.array([[1.0], [2.0]], np.float32), 5, 400))
    np.testing.assert_array_equal(rows, [[300, 0, 1, 2, 3]] * 2)
    np.testing.assert_array_equal(scores[1], [2, 1, 1, 1, 1])
    assert [(len(queries), k) for queries, k in calls] == [(2, 21), (2, 84), (2, 336)]
    rows, _ = results_of(best_keys(search, np.array([[1.0]], np.float32), 1, 400))
    np.testing.assert_array_equal(rows, [[300]])
    assert best_keys(search, np.array([[1.0]], np.float32), 900, 400).shape == (1, 400)


def test_only_unsettled_queries_are_asked_again():
    calls = []
    falling = np.linspace(1, 0, 200, dtype=np.float32)
    search = searching(lambda queries: np.stack([falling if query[0] else np.ones(200, np.float32) for query in queries]), calls)
    rows, _ = results_of(best_keys(search, np.array([[1.0], [0.0], [2.0]], np.float32), 3, 200))
    np.testing.assert_array_equal(rows, [[0, 1, 2]] * 3)
    assert calls[0][0] == [1.0, 0.0, 2.0]
    assert all(again == [0.0] for again, _ in calls[1:])


@pytest.mark.parametrize("device", [None, "cpu"])
def test_search_block_by_block_is_the_search_of_their_union(tmp_path, vectors, queries, device):
    rows, scores = reference(queries, vectors, 20)
    found_rows, found_scores = ShardedSearch(store_shards(tmp_path / "e", vectors, 4), 400, device)(queries, 20)
    np.testing.assert_array_equal(found_rows, rows)
    np.testing.assert_allclose(found_scores, scores, atol=1e-6)


def test_threads_do_not_change_results(tmp_path, vectors):
    build_index(store_shards(tmp_path / "e", vectors, 1), tmp_path / "i")
    queries, before = unit(np.random.default_rng(2), 500), faiss.omp_get_max_threads()
    found = []
    try:
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            rows, scores = IndexSearch(load(tmp_path / "i"))(queries, 30)
            found.append(hashlib.sha256(rows.tobytes() + scores.tobytes()).hexdigest())
    finally:
        faiss.omp_set_num_threads(before)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("factory", "sentence"), [("Flatt", "could not parse"), ("LSH", "not an index for inner products"), ("IVF4000,Flat", "cannot take these 1,500 vectors")]
)
def test_factory_strings_that_cannot_be(tmp_path, vectors, factory, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        build_index(store_shards(tmp_path / "e", vectors, 1), tmp_path / "i", factory)
    assert "\n" not in str(caught.value)
    assert factory in str(caught.value)
    assert not (tmp_path / "i" / "manifest.json").exists()


def test_a_foreign_or_damaged_index_is_refused(tmp_path, vectors):
    folder = tmp_path / "index" / "m"
    build_index(store_shards(tmp_path / "e", vectors, 1), folder)
    with pytest.raises(UserError, match="was built from another model than the 'm' that is there now; run simlm encode and simlm build-index --model m again"):
        load_index(folder, model_sha256="c" * 64, corpus_sha256=CORPUS)
    with pytest.raises(UserError, match="was built from another corpus"):
        load_index(folder, model_sha256=MODEL, corpus_sha256="c" * 64)
    with pytest.raises(UserError, match=r"index\.nprobe is 4, but the index 'Flat' has no cells"):
        load(folder, nprobe=4)
    manifest = read_json(folder / "manifest.json", "")
    content = (folder / "index.faiss").read_bytes()
    (folder / "index.faiss").write_bytes(content[:-1000])
    with pytest.raises(UserError, match=r"index\.faiss is truncated or missing"):
        load(folder)
    (folder / "index.faiss").write_bytes(b"nonsense" + content[8:])
    with pytest.raises(UserError, match=r"index\.faiss is damaged"):
        load(folder)
    (folder / "manifest.json").write_text(json.dumps({"rows": manifest["rows"]}))
    with pytest.raises(UserError, match="is not the manifest of an index"):
        load(folder)
    with pytest.raises(UserError, match="does not exist; run simlm build-index --model gone first"):
        load(tmp_path / "index" / "gone")
