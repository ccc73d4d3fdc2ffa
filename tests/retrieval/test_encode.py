"""Embedding in shards: the same bits whatever the number of shards, resumed exactly, and never mixed."""

from __future__ import annotations

import json
import os
import time
from itertools import pairwise

import numpy as np
import pytest
import torch

from simlm.corpus.store import CorpusStore, write_corpus
from simlm.errors import OutOfTime, UserError
from simlm.hardware import Precision
from simlm.models.folder import save_model
from simlm.retrieval import encode
from simlm.retrieval.encode import encode_shard, shard_rows
from simlm.retrieval.encoder import TextEncoder
from simlm.text.token_blocks import made_ahead, token_blocks
from simlm.text.token_cache import TokenCache
from simlm.vectors.shards import Shards

WORDS = ["swap", "two", "columns", "invert", "a", "matrix", "of", "numbers", "and", "the", "numpy", "row", "sort", "list", "find", "join"]
FP32, BF16 = Precision("fp32", "test"), Precision("bf16", "test")
ROWS = 150
HEADER, ROW = 128, 16 * 4  # bytes of the .npy header, and of one vector


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(encode, "BLOCK", 32)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def store(tmp_path):
    random = np.random.default_rng(1)
    passages = [(f"d{row}", " ".join(random.choice(WORDS, row % 3)), " ".join(random.choice(WORDS, 1 + int(random.integers(0, 40))))) for row in range(ROWS)]
    write_corpus(tmp_path / "corpus", passages, {"test": ([("q", "swap columns")], [("q", "d0", 1)])}, {"source": "test"})
    return CorpusStore(tmp_path / "corpus")


@pytest.fixture
def model(tmp_path, word_tokenizer, tiny_encoder):
    save_model(tmp_path / "models" / "m", tiny_encoder, word_tokenizer, kind="biencoder", key="k", lengths={"query": 8, "passage": 24})
    return tmp_path / "models" / "m"


def vectors_of(encoder, store, folder, shards, dtype="fp32"):
    for shard in range(1, shards + 1):
        encode_shard(encoder, store, store.folder.parent / "tokens", folder / f"{shard}-of-{shards}.json", shard, shards, dtype)
    return np.concatenate([np.load(folder / f"{shard}-of-{shards}.npy") for shard in range(1, shards + 1)])


def test_shards_cover_every_row_once():
    for rows in (0, 1, 31, 32, 33, 1000):
        for shards in (1, 2, 3, 7, 50):
            bounds = [shard_rows(rows, shard, shards) for shard in range(1, shards + 1)]
            assert bounds[0][0] == 0
            assert bounds[-1][1] == rows
            assert all(before[1] == after[0] for before, after in pairwise(bounds))
            assert all(first % encode.BLOCK == 0 or first == rows for first, _ in bounds)


@pytest.mark.parametrize("precision", [FP32, BF16], ids=["fp32", "bf16"])
def test_any_number_of_shards_gives_the_same_bits(tmp_path, store, model, precision):
    encoder = TextEncoder(model, precision, batch_size=8)
    whole = vectors_of(encoder, store, tmp_path / "1", 1)
    assert whole.shape == (ROWS, 16)
    for shards in (2, 3, 9):
        assert vectors_of(encoder, store, tmp_path / str(shards), shards).tobytes() == whole.tobytes()


def test_vectors_are_those_of_plain_transformers(tmp_path, store, model):
    from transformers import AutoModel, AutoTokenizer

    ours = vectors_of(TextEncoder(model, FP32, batch_size=8), store, tmp_path / "e", 2)
    tokenizer, plain = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval().double()
    titles, texts = store.texts(range(ROWS))
    for row in range(0, ROWS, 7):
        batch = tokenizer(titles[row] or "-", texts[row], max_length=24, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            state = plain(**batch).last_hidden_state[0, 0].numpy()
        np.testing.assert_allclose(ours[row], state / np.linalg.norm(state), atol=2e-6)


def test_bf16_and_fp16_stay_close_to_fp32(tmp_path, store, model):
    exact = vectors_of(TextEncoder(model, FP32), store, tmp_path / "a", 1)
    rounded = vectors_of(TextEncoder(model, BF16), store, tmp_path / "b", 1)
    halves = vectors_of(TextEncoder(model, FP32), store, tmp_path / "c", 1, "fp16")
    assert halves.dtype == np.float16
    assert (exact * rounded).sum(1).min() > 0.9995
    np.testing.assert_allclose(np.linalg.norm(rounded, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(halves, exact, atol=1e-3)


def test_queries_are_tokenised_alone(model):
    encoder = TextEncoder(model, FP32)
    one = encoder.queries(["swap two columns"])
    several = encoder.queries(["sort", "swap two columns", "a matrix of numbers and the numpy row sort list find join"])
    np.testing.assert_allclose(several[1], one[0], atol=1e-6)
    assert encoder.queries([]).shape == (0, 16)


class Killed(Exception):
    pass


def interrupt(encoder, after):
    """Let the encoder die after some blocks, and count the blocks it embeds."""
    calls, embed = [], encoder.embed

    def embed_or_die(tokens):
        if len(calls) == after:
            raise Killed
        calls.append(len(tokens))
        return embed(tokens)

    encoder.embed = embed_or_die
    return calls


@pytest.mark.parametrize("damage", ["none", "torn block", "flipped byte", "no journal"])
def test_a_killed_shard_goes_on_where_it_stopped(tmp_path, store, model, damage):
    whole = vectors_of(TextEncoder(model, FP32), store, tmp_path / "whole", 1)
    manifest = tmp_path / "e" / "1-of-1.json"
    encoder = TextEncoder(model, FP32)
    interrupt(encoder, 3)
    with pytest.raises(Killed):
        encode_shard(encoder, store, store.folder.parent / "tokens", manifest, 1, 1)
    assert not manifest.exists()
    assert not (tmp_path / "e" / "1-of-1.npy").exists()
    partial, journal = tmp_path / "e" / ".1-of-1.npy.partial", tmp_path / "e" / ".1-of-1.journal"
    if damage == "torn block":
        os.truncate(partial, HEADER + 96 * ROW - 5)
    elif damage == "flipped byte":
        with open(partial, "r+b") as stream:
            stream.seek(HEADER + 40 * ROW)
            byte = stream.read(1)
            stream.seek(-1, os.SEEK_CUR)
            stream.write(bytes([byte[0] ^ 1]))
    elif damage == "no journal":
        journal.unlink()
    encoder = TextEncoder(model, FP32)
    calls = interrupt(encoder, 99)
    written = encode_shard(encoder, store, store.folder.parent / "tokens", manifest, 1, 1)
    assert np.load(tmp_path / "e" / "1-of-1.npy").tobytes() == whole.tobytes()
    kept = {"none": 3, "torn block": 2, "flipped byte": 2, "no journal": 0}[damage]
    assert len(calls) == 5 - kept
    assert written["resumed_rows"] == kept * 32
    assert not partial.exists()


def test_a_shard_stops_before_its_job_ends_and_goes_on(tmp_path, store, model, monkeypatch):
    whole = vectors_of(TextEncoder(model, FP32), store, tmp_path / "whole", 1)
    manifest = tmp_path / "e" / "1-of-1.json"
    monkeypatch.setenv("SIMLM_END_TIME", str(time.time() + 5))
    for rows in (32, 64):
        with pytest.raises(OutOfTime, match=f"shard 1-of-1, before row {rows}: stopped before the end"):
            encode_shard(TextEncoder(model, FP32), store, store.folder.parent / "tokens", manifest, 1, 1)
    monkeypatch.delenv("SIMLM_END_TIME")
    assert encode_shard(TextEncoder(model, FP32), store, store.folder.parent / "tokens", manifest, 1, 1)["resumed_rows"] == 64
    assert np.load(tmp_path / "e" / "1-of-1.npy").tobytes() == whole.tobytes()


def test_a_finished_shard_whose_manifest_was_deleted_is_only_checked(tmp_path, store, model):
    """Snakemake deletes the outputs of a job that ended unseen before it starts it again."""
    manifest = tmp_path / "e" / "1-of-1.json"
    first = encode_shard(TextEncoder(model, FP32), store, store.folder.parent / "tokens", manifest, 1, 1)
    manifest.unlink()
    encoder = TextEncoder(model, FP32)
    calls = interrupt(encoder, 99)
    again = encode_shard(encoder, store, store.folder.parent / "tokens", manifest, 1, 1)
    assert not calls
    assert again["vectors"] == first["vectors"]


def test_a_finished_shard_is_kept_and_a_stale_one_is_not(tmp_path, store, model, word_tokenizer, tiny_encoder):
    manifest = tmp_path / "e" / "1-of-1.json"
    first = encode_shard(TextEncoder(model, FP32), store, store.folder.parent / "tokens", manifest, 1, 1)
    encoder = TextEncoder(model, FP32)
    calls = interrupt(encoder, 99)
    assert encode_shard(encoder, store, store.folder.parent / "tokens", manifest, 1, 1) == first
    assert calls == []
    with torch.no_grad():
        tiny_encoder.embeddings.word_embeddings.weight[5] += 1
    save_model(model, tiny_encoder, word_tokenizer, kind="biencoder", key="k2", lengths={"query": 8, "passage": 24})
    encoder = TextEncoder(model, FP32)
    calls = interrupt(encoder, 99)
    assert encode_shard(encoder, store, store.folder.parent / "tokens", manifest, 1, 1)["model_sha256"] != first["model_sha256"]
    assert len(calls) == 5


def test_a_killed_shard_of_another_model_starts_anew(tmp_path, store, model, word_tokenizer, tiny_encoder):
    manifest = tmp_path / "e" / "1-of-1.json"
    encoder = TextEncoder(model, FP32)
    interrupt(encoder, 3)
    with pytest.raises(Killed):
        encode_shard(encoder, store, store.folder.parent / "tokens", manifest, 1, 1)
    with torch.no_grad():
        tiny_encoder.embeddings.word_embeddings.weight += 0.1
    save_model(model, tiny_encoder, word_tokenizer, kind="biencoder", key="k2", lengths={"query": 8, "passage": 24})
    assert encode_shard(TextEncoder(model, FP32), store, store.folder.parent / "tokens", manifest, 1, 1)["resumed_rows"] == 0


def test_shards_read_as_one_array(tmp_path, store, model):
    whole = vectors_of(TextEncoder(model, FP32), store, tmp_path / "m", 3, "fp16")
    shards = Shards(tmp_path / "m", 3, corpus_sha256=store.sha256)
    shards.verify()
    blocks = list(shards.blocks(20))
    np.testing.assert_array_equal(np.concatenate([block.values for _, block in blocks]), whole.astype(np.float32))
    assert [first for first, _ in blocks] == sorted(first for first, _ in blocks)
    np.testing.assert_array_equal(shards.take(np.array([0, 5, 64, 149])).values, whole[[0, 5, 64, 149]])


def spoil_vectors(folder):
    (folder / "2-of-2.npy").write_bytes((folder / "2-of-2.npy").read_bytes()[:-100])


def spoil_manifest(folder):
    (folder / "2-of-2.json").write_text((folder / "2-of-2.json").read_text()[:50])


def lose(folder):
    (folder / "2-of-2.json").unlink()


def another(field):
    def change(folder):
        manifest = json.loads((folder / "2-of-2.json").read_text())
        (folder / "2-of-2.json").write_text(json.dumps(manifest | {field: "f00"}))

    return change


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (spoil_vectors, "2-of-2.npy is truncated.*simlm encode --model m --shard 2 --shards 2"),
        (spoil_manifest, "2-of-2.json is truncated or not JSON.*simlm encode"),
        (lose, "2-of-2.json does not exist; run simlm encode --model m --shard 2 --shards 2"),
        (another("model_sha256"), "shard 2 was embedded with another model than shard 1"),
        (another("corpus_sha256"), "shard 2 was embedded with another corpus than shard 1"),
    ],
)
def test_shards_that_do_not_belong_together_are_refused(tmp_path, store, model, spoil, sentence):
    vectors_of(TextEncoder(model, FP32), store, tmp_path / "m", 2)
    spoil(tmp_path / "m")
    with pytest.raises(UserError, match=sentence):
        Shards(tmp_path / "m", 2)


def test_vectors_of_another_model_corpus_or_content_are_refused(tmp_path, store, model):
    vectors_of(TextEncoder(model, FP32), store, tmp_path / "m", 2)
    with pytest.raises(UserError, match="another model than the 'm' that is there now"):
        Shards(tmp_path / "m", 2, model_sha256="0")
    with pytest.raises(UserError, match="another corpus"):
        Shards(tmp_path / "m", 2, corpus_sha256="0")
    file = tmp_path / "m" / "1-of-2.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"1-of-2\.npy is not what its manifest describes"):
        Shards(tmp_path / "m", 2).verify()


def test_wrong_kind_and_wrong_shard_are_refused(tmp_path, word_tokenizer, tiny_encoder):
    save_model(tmp_path / "b", tiny_encoder, word_tokenizer, kind="bottleneck", key="k", lengths={"passage": 24})
    with pytest.raises(UserError, match="is a bottleneck, which does not embed"):
        TextEncoder(tmp_path / "b", FP32)
    with pytest.raises(UserError, match="no shard 0 of 2"):
        shard_rows(10, 0, 2)


def test_processes_that_tokenize_ahead_give_the_tokens_of_this_one(tmp_path, store, model):
    encoder = TextEncoder(model, FP32)
    blocks = [(first, min(first + 32, ROWS)) for first in range(0, ROWS, 32)]
    caches = [TokenCache(store, encoder.tokenizer, 24, tmp_path / name) for name in ("here", "there")]
    here, there = list(token_blocks(caches[0], blocks, "cpu")), list(made_ahead(caches[1], [0], blocks, 2))
    assert len(here) == len(there) == len(blocks)
    for own, other in zip(here, there):
        assert own.ids.tolist() == other.ids.tolist()
        assert own.offsets.tolist() == other.offsets.tolist()
        assert own.second.tolist() == other.second.tolist()
