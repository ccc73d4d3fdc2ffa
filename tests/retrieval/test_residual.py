"""The compressed index of token vectors: its codec by hand, its search against exact MaxSim, its files."""

from __future__ import annotations

import json
import os
from itertools import pairwise

import numpy as np
import pytest

from simlm.config.embedding import Index as Settings
from simlm.config.embedding import Residual
from simlm.errors import UserError
from simlm.files import sha256_file, write_json
from simlm.indexes import residual
from simlm.indexes.base import Place
from simlm.indexes.late_interaction import LateInteraction, maxsim
from simlm.indexes.residual import FILES, ResidualIndex, effort, usual_centroids
from simlm.indexes.residual_codec import ResidualCodec, clustered, nearest, pack, unpack
from simlm.retrieval.search import index_for
from simlm.vectors.shards import Shards
from simlm.vectors.vectors import Vectors

DIMENSION, ROWS, TOPICS = 32, 400, 150
WIDE = {"centroids": 64, "cells": 64, "least_score": -1.0, "candidates": 10_000}


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def texts(count: int, longest: int, seed: int, topics: np.ndarray) -> Vectors:
    """Each text is about a few topics; its vectors lie around theirs."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(2, longest, count)
    lengths[min(7, count - 1)] = 0 if longest > 8 else 3  # a passage without any vector
    own = draw.integers(0, len(topics), (count, 4))
    chosen = np.concatenate([draw.choice(own[i], length) for i, length in enumerate(lengths)])
    return Vectors.ragged(unit(topics[chosen] + draw.normal(0, 0.08, (len(chosen), topics.shape[1]))), lengths)


def shards_of(folder, vectors: Vectors, count: int = 2) -> Shards:
    """As the embedding writes them."""
    folder.mkdir(parents=True)
    cut = np.linspace(0, len(vectors), count + 1).astype(int)
    for shard, (first, last) in enumerate(pairwise(cut), 1):
        own, file, offsets = vectors[first:last], folder / f"{shard}-of-{count}.npy", folder / f"{shard}-of-{count}.offsets.npy"
        np.save(file, own.values)
        np.save(offsets, own.offsets)
        about = {"model_sha256": "m", "corpus_sha256": "c", "dimension": own.values.shape[1], "dtype": "fp32", "corpus_rows": len(vectors), "precision": "fp32"}
        files = {name: {"file": one.name, "bytes": one.stat().st_size, "sha256": sha256_file(one)} for name, one in (("vectors", file), ("offsets", offsets))}
        write_json(file.with_suffix(".json"), {**about, "first_row": int(first), "rows": int(last - first), **files})
    return Shards(folder, count)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    topics = unit(np.random.default_rng(0).normal(size=(TOPICS, DIMENSION)))
    passages, queries = texts(ROWS, 20, 1, topics), texts(30, 8, 2, topics)
    return folder, shards_of(folder / "e", passages), passages, queries


def built(world, name: str, **settings) -> ResidualIndex:
    folder, shards, *_ = world
    whole = Settings(residual=Residual(**settings))
    index = index_for(True, whole)
    assert index is ResidualIndex
    index.build(shards, folder / name, whole, 3, 1)
    return index.open(Place(folder / name, folder / "e", 2, "m", "c"), whole, verify=True)


def test_bytes_by_hand():
    """Four numbers of two bits make a byte, eight of one bit, two of four; the first number is in the highest bits."""
    assert pack(np.array([[3, 0, 1, 2]]), 2).tolist() == [[0b11000110]]
    assert pack(np.array([[1, 0, 0, 1, 0, 1, 1, 0, 1]]), 1).tolist() == [[0b10010110, 0b10000000]]
    assert pack(np.array([[15, 1, 10]]), 4).tolist() == [[0b11110001, 0b10100000]]


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("dimension", [128, 12, 5, 1])
def test_buckets_come_back(bits, dimension):
    buckets = np.random.default_rng(1).integers(0, 2**bits, (17, dimension))
    packed = pack(buckets, bits)
    assert packed.shape == (17, -(-dimension * bits // 8))
    assert np.array_equal(unpack(packed, bits, dimension), buckets)


def test_a_vector_by_hand():
    codec = ResidualCodec(np.array([[1, 0], [0, 1]], np.float32), np.array([-0.1, 0, 0.1], np.float32), np.array([-0.2, -0.05, 0.05, 0.2], np.float32))
    codes, residuals = codec.compress(np.array([[0.8, 0.6], [0.28, 0.96]], np.float32))
    assert codes.tolist() == [0, 1]
    # (-0.2, 0.6) falls into the lowest and the highest bucket, (0.28, -0.04) into the highest and the second.
    assert residuals.tolist() == [[0b00110000], [0b11010000]]
    expected = np.array([[0.8, 0.2], [0.2, 0.95]])
    np.testing.assert_allclose(codec.decompress(codes, residuals), expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_buckets_are_quantiles_and_more_bits_lose_less(bits):
    draw = np.random.default_rng(4)
    vectors = unit(draw.normal(size=(3000, 16)))
    centroids = clustered(vectors[:2000], 32, 4, seed=1)
    codec = ResidualCodec.fit(centroids, vectors[2000:], bits)
    assert codec.bits == bits
    left = (vectors[2000:] - centroids[nearest(centroids, vectors[2000:])]).ravel().astype(np.float64)
    np.testing.assert_allclose(codec.borders, np.quantile(left, np.arange(1, 2**bits) / 2**bits), rtol=1e-5)
    shares = np.bincount(np.searchsorted(codec.borders, left), minlength=2**bits) / len(left)
    np.testing.assert_allclose(shares, 1 / 2**bits, atol=0.01)
    again = codec.decompress(*codec.compress(vectors[2000:]))
    np.testing.assert_allclose(np.linalg.norm(again, axis=1), 1, rtol=1e-5)
    mean = float((again * vectors[2000:]).sum(1).mean())
    assert {1: 0.8, 2: 0.92, 4: 0.98}[bits] < mean < 1


def test_a_device_clusters_as_well_as_faiss():
    """torch's name of the processor stands for a GPU's."""
    topics = unit(np.random.default_rng(6).normal(size=(30, DIMENSION)))
    vectors = texts(200, 20, 7, topics).values
    similar = []
    for device in (None, "cpu"):
        centroids = clustered(vectors, 40, 6, 1, device=device)
        np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, rtol=1e-5)
        codes = nearest(centroids, vectors, device=device)
        assert np.array_equal(codes, (vectors @ centroids.T).argmax(1))
        similar.append((vectors * centroids[codes]).sum(1).mean())
    assert similar[1] == pytest.approx(similar[0], rel=0.02)
    assert np.array_equal(clustered(vectors, 40, 6, 1, device="cpu"), centroids)


def test_nearest_is_the_largest_inner_product():
    draw = np.random.default_rng(5)
    centroids, vectors = unit(draw.normal(size=(20, 6))), unit(draw.normal(size=(50, 6)))
    assert np.array_equal(nearest(centroids, vectors), (vectors.astype(np.float64) @ centroids.T.astype(np.float64)).argmax(1))
    assert np.array_equal(clustered(vectors, 4, 3, 1), clustered(vectors, 4, 3, 1))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_with_all_candidates_it_is_maxsim_of_what_was_kept(world, bits, monkeypatch):
    monkeypatch.setattr(residual, "TOGETHER", 100)
    *_, passages, queries = world
    index = built(world, f"all-{bits}", bits=bits, **WIDE)
    kept = index.vectors(np.arange(ROWS))
    assert np.array_equal(kept.offsets, passages.offsets)
    assert (kept.values * passages.values).sum(1).mean() > {1: 0.85, 2: 0.95, 4: 0.99}[bits]
    scores = np.array([[sum((q.astype(np.float64) @ d.T.astype(np.float64)).max(1)) if len(d) else -np.inf for d in each(kept)] for q in each(queries)])
    rows, found = index(queries, ROWS)
    assert (rows[:, -1] == -1).all()  # the passage without a vector
    np.testing.assert_allclose(found[:, :-1], -np.sort(-scores, axis=1)[:, :-1], atol=1e-4)
    np.testing.assert_allclose(np.take_along_axis(scores, rows[:, :-1], 1), found[:, :-1], atol=1e-4)


def each(vectors: Vectors) -> list[np.ndarray]:
    return [vectors[i : i + 1].values for i in range(len(vectors))]


@pytest.mark.parametrize(("bits", "least"), [(1, 0.85), (2, 0.9), (4, 0.95)])
def test_the_share_of_the_exact_top_ten_that_is_found(world, bits, least):
    """A third of the passages stay candidates; their vectors lie in clusters."""
    _, shards, _, queries = world
    exact, _ = LateInteraction(shards)(queries, 10)
    rows, _ = built(world, f"plaid-{bits}", bits=bits, centroids=256, cells=4, candidates=128)(queries, 10)
    assert np.mean([len(set(one) & set(other)) / 10 for one, other in zip(exact.tolist(), rows.tolist())]) > least


def test_every_stage_leaves_what_it_says(world, monkeypatch):
    *_, queries = world
    index = built(world, "stages", bits=2, centroids=64, cells=2, candidates=40)
    seen = []
    by_centroids = ResidualIndex._by_centroids
    monkeypatch.setattr(ResidualIndex, "_by_centroids", lambda self, rows, near, counted: seen.append(len(rows)) or by_centroids(self, rows, near, counted))
    rows, scores = index.search(queries[:1].values, 5)
    assert seen[1] == 40
    assert seen[0] > 40
    assert len(rows) == len(scores) == 10  # a quarter, and no fewer than asked for
    near = index.codec.centroids @ queries[:1].values.T
    candidates = index._passages_near(near, 2)
    cells = {int(cell) for token in near.T for cell in np.argsort(-token)[:2]}
    own = [set(index.codes[first:last].tolist()) for first, last in zip(index.offsets, index.offsets[1:])]
    assert candidates.tolist() == [row for row, codes in enumerate(own) if codes & cells]
    approximate = by_centroids(index, candidates, near, near.max(1) >= 0.5)
    for row, score in zip(candidates.tolist(), approximate):
        counted = [code for code in index.codes[index.offsets[row] : index.offsets[row + 1]] if near[code].max() >= 0.5]
        assert score == (pytest.approx(near[counted].max(0).sum(), rel=1e-5) if counted else -np.inf)


def test_scores_are_those_of_the_exact_search_function(world):
    *_, queries = world
    index = built(world, "scores", bits=4, centroids=64)
    rows, scores = index.search(queries[3:4].values, 10)
    np.testing.assert_allclose(scores, maxsim(queries[3:4], index.vectors(rows))[0], rtol=1e-5)


def test_the_index_does_not_depend_on_shards_or_blocks(world, tmp_path):
    folder, _, passages, _ = world
    built(world, "twice", bits=2, centroids=32)
    three, settings = shards_of(tmp_path / "e", passages, 3), Settings(residual={"bits": 2, "centroids": 32})
    three.blocks = lambda size=500, read=three.blocks: read(500)
    ResidualIndex.build(three, tmp_path / "i", settings, 3, 2)
    for name in FILES:
        assert np.array_equal(np.load(folder / "twice" / f"{name}.npy"), np.load(tmp_path / "i" / f"{name}.npy")), name


def test_what_is_usual():
    assert effort(100, Residual()) == (2, 0.45, 1024)
    assert effort(2000, Residual(least_score=0.1)) == (4, 0.1, 8000)
    assert usual_centroids(33_600 * 60) == 16_384
    assert Settings(residual={}).residual.bits == 2


def test_a_query_without_a_vector_finds_nothing(world):
    index = built(world, "none", bits=2, centroids=32)
    rows, scores = index(Vectors.ragged(np.zeros((0, DIMENSION), np.float32), [0]), 3)
    assert rows.tolist() == [[-1] * 3]
    assert np.isneginf(scores).all()


def cut(file) -> None:
    os.truncate(file, 100)


def turn(file) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("name", ["codes", "residuals", "lists"])
@pytest.mark.parametrize(("spoil", "sentence"), [(cut, "is truncated or missing"), (turn, "is not what its digest says")])
def test_damage_and_other_models_are_refused(world, name, spoil, sentence):
    folder = world[0]
    built(world, "damaged", bits=2, centroids=32)
    with pytest.raises(UserError, match="built from another model than the 'damaged'"):
        ResidualIndex.open(Place(folder / "damaged", folder / "e", 2, "other", "c"), Settings(residual={}))
    with pytest.raises(UserError, match="built from another corpus"):
        ResidualIndex.open(Place(folder / "damaged", folder / "e", 2, "m", "other"), Settings(residual={}))
    spoil(folder / "damaged" / f"{name}.npy")
    with pytest.raises(UserError, match=rf"{name}\.npy {sentence}"):
        ResidualIndex.open(Place(folder / "damaged", folder / "e", 2, "m", "c"), Settings(residual={}), verify=True)
    manifest = json.loads((folder / "damaged" / "manifest.json").read_text())
    assert manifest["files"].keys() == {f"{one}.npy" for one in FILES}
