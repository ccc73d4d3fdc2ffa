"""Vectors per token: written in shards, resumed after a kill, read by block, searched exactly, refused when damaged."""

from __future__ import annotations

import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from simlm.config.embedding import Index as Settings
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.errors import UserError
from simlm.hardware import Precision
from simlm.indexes import late_interaction
from simlm.indexes.base import Place
from simlm.models.reading import Reading
from simlm.models.text import Tokens, tokenize_queries
from simlm.retrieval import encode
from simlm.retrieval.encode import encode_shard
from simlm.retrieval.queries import QueryVectors, query_vectors
from simlm.retrieval.search import index_for, search_split
from simlm.scoring.maxsim import TokenVectors, maxsim
from simlm.vectors.shards import Shards
from simlm.vectors.vectors import Vectors

WORDS = ["swap", "two", "columns", "invert", "a", "matrix", "of", "numbers", "and", "the", "row", "sort"]
ROWS, DIMENSION = 150, 6


class TokenEncoder:
    """A table of vectors, one per token id; `the` has none, as punctuation has none in late interaction."""

    ragged, dimension, sha256, batch_size, packed = True, DIMENSION, "a" * 64, 8, False
    lengths, precision, device = {"query": 8, "passage": 24}, Precision("fp32", "test"), torch.device("cpu")

    reader = SimpleNamespace(reading=Reading())

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        table = np.random.default_rng(3).normal(size=(len(tokenizer), DIMENSION))
        self.table = (table / np.linalg.norm(table, axis=1, keepdims=True)).astype(np.float32)
        self.left_out = [tokenizer.convert_tokens_to_ids("the"), *tokenizer.all_special_ids]
        self.blocks_until_death = None

    def embed(self, tokens: Tokens) -> Vectors:
        if self.blocks_until_death is not None:
            if not self.blocks_until_death:
                raise KeyboardInterrupt
            self.blocks_until_death -= 1
        kept = [ids[~np.isin(ids, self.left_out)] for ids in (tokens[i] for i in range(len(tokens)))]
        return Vectors.ragged(self.table[np.concatenate([np.zeros(0, np.int64), *kept]).astype(np.int64)], [len(ids) for ids in kept])

    def queries(self, texts) -> Vectors:
        return self.embed(tokenize_queries(self.tokenizer, texts, 8))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(encode, "BLOCK", 32)


@pytest.fixture
def store(tmp_path):
    draw = np.random.default_rng(1)
    passages = [(f"d{row}", "", " ".join(draw.choice(WORDS, 1 + int(draw.integers(0, 20))))) for row in range(ROWS)]
    passages[40] = ("d40", "the", "the the")  # without any vector
    queries = [(f"q{i}", " ".join(draw.choice(WORDS, 1 + i % 5))) for i in range(20)]
    write_corpus(tmp_path / "corpus", passages, {"test": (queries, [(query, "d0", 1) for query, _ in queries])}, {"source": "test"})
    return CorpusStore(tmp_path / "corpus")


def shards_of(encoder, store, folder, count, dtype="fp32"):
    for shard in range(1, count + 1):
        encode_shard(encoder, store, store.folder.parent / "tokens", folder / f"{shard}-of-{count}.json", shard, count, dtype)
    return Shards(folder, count)


def whole(shards, size=65536) -> Vectors:
    return Vectors.join([block for _, block in shards.blocks(size)])


def equal(one: Vectors, other: Vectors) -> bool:
    return np.array_equal(one.values, other.values) and np.array_equal(one.offsets, other.offsets)


def test_any_number_of_shards_and_any_block_reads_the_same(tmp_path, store, word_tokenizer):
    encoder = TokenEncoder(word_tokenizer)
    one, three = (shards_of(encoder, store, tmp_path / str(count), count) for count in (1, 3))
    expected = whole(one)
    assert len(expected) == ROWS
    assert expected.lengths[40] == 0
    for size in (1, 10, 100):
        blocks = list(three.blocks(size))
        assert equal(Vectors.join([block for _, block in blocks]), expected)
        assert [first for first, _ in blocks] == np.cumsum([0, *(len(block) for _, block in blocks)])[:-1].tolist()
        assert all(len(block.values) <= size or len(block.lengths[block.lengths > 0]) == 1 for _, block in blocks)
    assert equal(three.take(np.array([0, 40, 63, 64, 149])), expected.take([0, 40, 63, 64, 149]))
    three.verify()
    manifest = three.manifests[1]
    assert manifest["offsets"]["file"] == "2-of-3.offsets.npy"
    assert shards_of(encoder, store, tmp_path / "h", 2, "fp16").dimension == DIMENSION
    np.testing.assert_array_equal(whole(Shards(tmp_path / "h", 2)).values, expected.values.astype(np.float16))
    assert not list(tmp_path.glob("*/.*.parts"))


def test_a_killed_shard_goes_on_and_a_finished_one_is_kept(tmp_path, store, word_tokenizer):
    encoder, manifest = TokenEncoder(word_tokenizer), tmp_path / "m" / "1-of-1.json"
    expected = whole(shards_of(encoder, store, tmp_path / "plain", 1))
    encoder.blocks_until_death = 3
    with pytest.raises(KeyboardInterrupt):
        shards_of(encoder, store, tmp_path / "m", 1)
    (block,) = (tmp_path / "m").glob(".*.parts/32")
    block.write_bytes(block.read_bytes()[:-1])  # one of the three finished blocks is torn
    encoder.blocks_until_death = 3  # of five, two are whole
    assert equal(whole(shards_of(encoder, store, tmp_path / "m", 1)), expected)
    assert json.loads(manifest.read_text())["resumed_rows"] == 64
    encoder.blocks_until_death = 0
    shards_of(encoder, store, tmp_path / "m", 1)  # there already
    manifest.unlink()  # as Snakemake does: the blocks are looked at, and none is embedded
    assert equal(whole(shards_of(encoder, store, tmp_path / "m", 1)), expected)
    assert json.loads(manifest.read_text())["resumed_rows"] == ROWS
    os.truncate(tmp_path / "m" / "1-of-1.offsets.npy", 200)
    encoder.blocks_until_death = 5
    assert equal(whole(shards_of(encoder, store, tmp_path / "m", 1)), expected)


@pytest.mark.parametrize("numbers", [1, 2**26], ids=["query by query", "together"])
def test_the_search_is_maxsim_in_float64(tmp_path, store, word_tokenizer, monkeypatch, numbers):
    monkeypatch.setattr(late_interaction, "NUMBERS", numbers)
    encoder = TokenEncoder(word_tokenizer)
    shards = shards_of(encoder, store, tmp_path / "m", 2)
    passages, texts = whole(shards), list(store.queries("test").values())
    queries = encoder.queries(texts)
    scores = maxsim(_padded(queries), _padded(passages)).numpy()
    index = index_for(shards.ragged, Settings())
    manifest = index.build(shards, tmp_path / "i", Settings(), 1, 1)
    assert manifest["rows"] == ROWS
    search = index.open(Place(tmp_path / "i", tmp_path / "m", 2, encoder.sha256, store.sha256), Settings())
    search.block = 100
    order = np.stack([np.lexsort((np.arange(ROWS), -np.round(row, 5))) for row in scores])
    rows, found = search(queries, ROWS)
    assert (rows[:, -1] == -1).all()  # the passage without a vector
    np.testing.assert_allclose(found[:, :-1], np.take_along_axis(scores, order, 1)[:, :-1], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(scores, rows[:, :-1], 1), found[:, :-1], atol=1e-5)
    rankings = list(search_split(QueryVectors(list(store.queries("test")), queries), search, 10, queries_at_once=3))
    assert [ranking.query_id for ranking in rankings] == list(store.queries("test"))
    assert all(np.array_equal(ranking.passages, row[:10]) for ranking, row in zip(rankings, rows))


def _padded(vectors: Vectors) -> TokenVectors:
    mask = np.arange(vectors.lengths.max()) < vectors.lengths[:, None]
    values = np.zeros((*mask.shape, DIMENSION))
    values[mask] = vectors.values
    return TokenVectors(torch.tensor(values), torch.tensor(mask))


def test_queries_keep_their_tokens(tmp_path, store, word_tokenizer, monkeypatch):
    from simlm.retrieval import queries

    monkeypatch.setattr(queries, "_key", lambda *_: "key")
    monkeypatch.setattr(queries, "QUERIES_AT_ONCE", 7)
    encoder = TokenEncoder(word_tokenizer)
    direct = encoder.queries(list(store.queries("test").values()))
    first = query_vectors(tmp_path / "m", store, "test", tmp_path, {}, lambda: encoder)
    again = query_vectors(tmp_path / "m", store, "test", tmp_path, {}, lambda: pytest.fail("embedded again"))
    assert equal(first.vectors, direct)
    assert equal(again.vectors, direct)
    assert len(again) == 20
    os.truncate(tmp_path / "m" / "queries.test.offsets.npy", 150)
    assert equal(query_vectors(tmp_path / "m", store, "test", tmp_path, {}, lambda: encoder).vectors, direct)


def lose(folder):
    (folder / "2-of-2.offsets.npy").unlink()


def mix(folder):
    file = folder / "2-of-2.json"
    manifest = json.loads(file.read_text())
    del manifest["offsets"]
    file.write_text(json.dumps(manifest))


def exchange(folder):
    shutil.copy(folder / "1-of-2.offsets.npy", folder / "2-of-2.offsets.npy")


@pytest.mark.parametrize(
    ("spoil", "sentence"), [(lose, "is missing or not an array"), (mix, "different kinds of vectors"), (exchange, "does not say where the 86 passages")]
)
def test_damaged_offsets_are_refused(tmp_path, store, word_tokenizer, spoil, sentence):
    shards_of(TokenEncoder(word_tokenizer), store, tmp_path / "m", 2)
    spoil(tmp_path / "m")
    with pytest.raises(UserError, match=sentence):
        Shards(tmp_path / "m", 2)


def test_a_changed_offset_is_found(tmp_path, store, word_tokenizer):
    shards = shards_of(TokenEncoder(word_tokenizer), store, tmp_path / "m", 2)
    file = tmp_path / "m" / "1-of-2.offsets.npy"
    offsets = np.load(file)
    offsets[3] = offsets[2]
    np.save(file, offsets)
    with pytest.raises(UserError, match=r"1-of-2\.offsets\.npy is not what its manifest describes"):
        shards.verify()


def test_dense_vectors_are_stored_as_before(tmp_path, store, word_tokenizer):
    """No offsets, and one array of all rows."""
    encoder = TokenEncoder(word_tokenizer)
    dense = SimpleNamespace(
        **{name: getattr(encoder, name) for name in ("dimension", "sha256", "batch_size", "lengths", "precision", "device", "tokenizer", "reader", "packed")}
    )
    dense.ragged, dense.embed = False, lambda tokens: np.stack([encoder.table[tokens[i]].mean(0) for i in range(len(tokens))])
    shards = shards_of(dense, store, tmp_path / "m", 2)
    assert not list((tmp_path / "m").glob("*.offsets.npy"))
    assert "offsets" not in shards.manifests[0]
    assert (tmp_path / "m" / "1-of-2.npy").stat().st_size == 128 + 64 * 4 * DIMENSION
    assert whole(shards).offsets is None
