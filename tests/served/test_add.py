"""`simlm add`: what the workflow would make of the larger corpus, in the time of the new passages, and never in the place of what was judged."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch

from simlm.cli import main
from simlm.config.embedding import Index as Settings
from simlm.corpus.store import CorpusStore
from simlm.indexes.base import Place
from simlm.indexes.faiss_index import IndexSearch, build_index
from simlm.indexes.residual import ResidualIndex
from simlm.indexes.residual_codec import ResidualCodec
from simlm.paths import Paths
from simlm.retrieval import encode
from simlm.retrieval.encoder import TextEncoder
from simlm.served import add as adding
from simlm.vectors.shards import Shards
from simlm.vectors.vectors import Vectors
from simlm.vectors.written import write_folder

NEW = [{"_id": f"new{row}", "title": "numpy sort" if row % 2 else "", "text": f"zebra {'swap two columns ' * (row % 5)}sort"} for row in range(11)]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(encode, "BLOCK", 32)
    monkeypatch.setattr("simlm.served.add.whole_rows", encode.whole_rows)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def ready(searchable, tmp_path):
    options = ["--experiment", "tiny", "--results", str(searchable.paths.root.parent)]
    for command in ("encode", "build-index"):
        assert main([command, *options, "--model", "distilled"]) == 0
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(passage) + "\n" for passage in NEW))
    return searchable, options, str(tmp_path / "new.jsonl")


def digests(paths):
    kept = [file for file in sorted(paths.root.rglob("*")) if file.is_file() and not {"served", ".adding", ".config"} & {*file.relative_to(paths.root).parts}]
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in kept if file.name != ".adding.lock"}


def test_the_same_bits_as_the_workflow_on_the_larger_corpus(ready, tmp_path, capsys):
    context, options, file = ready
    before = digests(context.paths)
    assert main(["add", file, *options]) == 0
    assert digests(context.paths) == before
    assert "101 passages, 11 of them new, for distilled" in capsys.readouterr().err
    served, store = Paths(context.paths.served), CorpusStore(context.paths.served / "corpus")
    # The same experiment with a corpus that had all passages from the beginning.
    anew = tmp_path / "anew" / "tiny"
    shutil.copytree(context.paths.root, anew, ignore=shutil.ignore_patterns("served", "embeddings", "index", "tokens", "stages", ".*"))
    shutil.rmtree(anew / "corpus")
    old = CorpusStore(context.paths.corpus)
    passages = [*zip(old.ids(range(90)), *old.texts(range(90))), *((one["_id"], one["title"], one["text"]) for one in NEW)]
    from simlm.corpus.store import write_corpus

    splits = {
        name: (list(old.queries(name).items()), [(query, one, grade) for query, graded in old.qrels(name).items() for one, grade in graded.items()])
        for name in old.splits
    }
    write_corpus(anew / "corpus", passages, splits, {"source": "test"})
    assert CorpusStore(anew / "corpus").sha256 == store.sha256
    for command, more in (("encode", ["--shards", "1"]), ("build-index", ["--shards", "1"])):
        assert main([command, *options[:2], "--results", str(tmp_path / "anew"), "--model", "distilled", *more]) == 0
    for one in ("embeddings/distilled/1-of-1.npy", "index/distilled/index.faiss"):
        assert (served.root / one).read_bytes() == (anew / one).read_bytes(), one
    # A second addition, and none: BM25 shall find them too.
    (tmp_path / "one.jsonl").write_text(json.dumps({"_id": "last", "text": "zebra zebra"}) + "\n")
    assert main(["add", str(tmp_path / "one.jsonl"), *options]) == 0
    assert main(["search", *options, "--system", "bm25", "zebra"]) == 2
    assert "simlm add --experiment tiny --system bm25" in capsys.readouterr().err
    assert main(["add", *options, "--system", "fusion"]) == 0
    assert json.loads((served.root / "manifest.json").read_text())["systems"] == ["distilled", "fusion"]
    for system in ("bm25", "fusion", "distilled"):
        capsys.readouterr()
        assert main(["search", *options, "--system", system, "--json", "-k", "102", "zebra sort"]) == 0
        answer = capsys.readouterr()
        assert {"last", "new1"} <= {hit["id"] for hit in json.loads(answer.out)["hits"]}
        assert "102 passages, of which 12 were added after the evaluation" in answer.err
        assert main(["search", *options, "--system", system, "--json", "-k", "102", "--evaluated", "zebra sort"]) == 0
        assert not {"last", "new1"} & {hit["id"] for hit in json.loads(capsys.readouterr().out)["hits"]}
    assert digests(context.paths) == before


def test_a_doubled_id_is_refused_with_its_place_and_nothing_changes(ready, tmp_path, capsys):
    context, options, file = ready
    assert main(["add", file, *options]) == 0
    before = {one: one.read_bytes() for one in sorted(context.paths.served.rglob("*")) if one.is_file()}
    for doubled in ("d7", "new3"):
        (tmp_path / "more.jsonl").write_text(json.dumps({"_id": "x", "text": "a"}) + "\n" + json.dumps({"_id": doubled, "text": "b"}) + "\n")
        assert main(["add", str(tmp_path / "more.jsonl"), *options]) == 2
        assert f"more.jsonl:2: the passage id '{doubled}' was used before" in capsys.readouterr().err
        assert {one: one.read_bytes() for one in sorted(context.paths.served.rglob("*")) if one.is_file()} == before


def test_a_killed_call_leaves_what_was_there_and_the_next_goes_on(ready, monkeypatch):
    context, options, file = ready
    embedded = []
    embed = TextEncoder.embed
    monkeypatch.setattr(TextEncoder, "embed", lambda encoder, tokens: (embedded.append(len(tokens)), embed(encoder, tokens))[1])
    put = adding.put_folder
    monkeypatch.setattr(adding, "put_folder", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["add", file, *options]) == 130
    assert embedded == [32, 5]  # rows 64 to 96, of which 26 were there, and the rest
    assert not context.paths.served.exists()
    monkeypatch.setattr(adding, "put_folder", put)
    assert main(["add", file, *options]) == 0
    assert embedded == [32, 5]
    assert len(CorpusStore(context.paths.served / "corpus")) == 101
    assert not (context.paths.root / ".adding").exists()


def test_another_model_is_never_asked_with_old_vectors(ready, capsys, word_tokenizer, tiny_encoder):
    from simlm.models.folder import save_model

    context, options, file = ready
    assert main(["add", file, *options]) == 0
    with torch.no_grad():
        tiny_encoder.embeddings.word_embeddings.weight *= 1.5
    save_model(context.paths.model("distilled"), tiny_encoder, word_tokenizer, kind="biencoder", key="k", lengths={"query": 8, "passage": 24})
    for command in ("encode", "build-index"):
        assert main([command, *options, "--model", "distilled"]) == 0
    assert main(["search", *options, "zebra"]) == 2
    assert "made with another 'distilled'" in capsys.readouterr().err
    assert main(["add", *options]) == 0
    assert main(["search", *options, "--json", "-k", "101", "zebra"]) == 0
    assert "new1" in capsys.readouterr().out


def unit(rows, seed):
    values = np.random.default_rng(seed).normal(size=(rows, 8)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def shards(folder, vectors):
    about = {"model_sha256": "m", "corpus_sha256": folder.name, "precision": "fp32"}
    ids = [str(row) for row in range(len(vectors))]
    write_folder(folder, [(ids, vectors)], 8, "fp32", vectors.offsets is not None, lambda: about)
    return Shards(folder, 1)


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat", "HNSW8", "SQ8", "PCA8,Flat", "IVF4,PQ4x4fs", "PCA8,HNSW8"])
def test_indexes_are_added_to(tmp_path, factory, capsys):
    old, settings = unit(300, 1), Settings(factory=factory, nprobe=4 if "IVF" in factory else None)
    moved = old[256:] + 0.1 * unit(44, 5)
    new = np.concatenate([old[:256], moved / np.linalg.norm(moved, axis=1, keepdims=True), unit(56, 2)])
    build_index(shards(tmp_path / "a", Vectors(old)), tmp_path / "index", factory, nprobe=settings.nprobe)
    place = Place(tmp_path / "index", tmp_path / "a", 1, "m", "a")
    manifest = IndexSearch.extend(place, shards(tmp_path / "b", Vectors(new)), tmp_path / "larger", settings, 256, 42, 1)
    assert (manifest["rows"], manifest["corpus_sha256"]) == (356, "b")
    found = IndexSearch.open(Place(tmp_path / "larger", tmp_path / "b", 1, "m", "b"), settings)
    if "HNSW" not in factory:
        assert (np.sort(found(new[:3], 356)[0], axis=1) == np.arange(356)).all()  # every row once
    rows, scores = found(new, 1)
    # Each vector finds itself: the first ones, those that were put in the place of others (cosine 0.995), and the further ones.
    for part in (slice(256), slice(256, 300), slice(300, None)):
        assert "PQ" in factory or (rows[part, 0] == np.arange(356)[part]).mean() > 0.95
        assert factory not in ("Flat", "IVF4,Flat", "HNSW8") or (scores[part, 0] > 0.999).all()
    built = "is built anew" in capsys.readouterr().err
    assert built == (factory == "PCA8,HNSW8")


def test_a_compressed_index_keeps_its_centroids(tmp_path):
    lengths = np.random.default_rng(3).integers(1, 5, 160)
    new = Vectors.ragged(unit(int(lengths.sum()), 4), lengths)
    settings = Settings(residual={"bits": 2, "centroids": 16})
    small = shards(tmp_path / "a", new[:120])
    ResidualIndex.build(small, tmp_path / "index", settings, 42, 1)
    place = Place(tmp_path / "index", tmp_path / "a", 1, "m", "a")
    manifest = ResidualIndex.extend(place, shards(tmp_path / "b", new), tmp_path / "larger", settings, 96, 42, 1)
    found = ResidualIndex.open(Place(tmp_path / "larger", tmp_path / "b", 1, "m", "b"), settings, verify=True)
    codec = ResidualCodec(*(np.load(tmp_path / "index" / f"{name}.npy") for name in ("centroids", "borders", "values")))
    codes, residuals = codec.compress(new.values)
    np.testing.assert_array_equal(found.codes, codes)
    np.testing.assert_array_equal(found.residuals, residuals)
    np.testing.assert_array_equal(found.offsets, new.offsets)
    assert manifest["rows"] == 160
    owner = np.repeat(np.arange(160), lengths)
    for centroid in range(16):
        own = found.lists[found.list_offsets[centroid] : found.list_offsets[centroid + 1]]
        assert own.tolist() == sorted({*owner[codes == centroid].tolist()})
