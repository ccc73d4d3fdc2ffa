"""`simlm export`: what other programs read is what the experiment holds."""

from __future__ import annotations

import json
import re

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simlm.cli import main
from simlm.corpus.store import CorpusStore
from simlm.export.onnx import NEEDED
from simlm.export.vectors import export_vectors
from simlm.runs.negatives import MinedQuery, MiningCounts, write_negatives
from simlm.vectors.parquet import vector_column
from simlm.vectors.shards import Shards
from simlm.vectors.vectors import Vectors

pytestmark = pytest.mark.usefixtures("threads_as_before")


@pytest.fixture
def options(searchable):
    return ["--experiment", "tiny", "--results", str(searchable.paths.root.parent)]


def test_vectors_are_read_by_datasets_pyarrow_and_as_anserini_asks(searchable, options, tmp_path, capsys):
    assert main(["encode", *options, "--model", "distilled"]) == 0
    assert main(["export", "vectors", *options, "--model", "distilled", "--output", str(tmp_path / "out")]) == 0
    store, shards = CorpusStore(searchable.paths.corpus), Shards(searchable.paths.embeddings("distilled"), 2)
    wanted, ids = shards.take(np.arange(len(store))).values, store.ids(range(len(store)))
    files = export_vectors(shards, store, tmp_path / "cut", 40)
    assert [file.name for file in files] == [f"corpus-0000{i}-of-00003.parquet" for i in range(3)]
    assert [pq.read_metadata(file).num_rows for file in files] == [40, 40, 10]
    for folder in ("out", "cut"):
        table = pq.read_table(tmp_path / folder)
        assert table.schema.field("vector").type == pa.list_(pa.float32(), 16)
        assert table["docid"].to_pylist() == ids
        np.testing.assert_array_equal(np.array(table["vector"].to_pylist(), np.float32), wanted)
        loaded = datasets.load_dataset("parquet", data_dir=str(tmp_path / folder), split="train", cache_dir=str(tmp_path / "cache"))
        assert loaded["docid"][:] == ids
        np.testing.assert_array_equal(np.array(loaded.with_format("numpy")["vector"][:]), wanted)
    # Anserini asks Parquet itself for docid, a string, and the floats called element below vector.
    schema = str(pq.ParquetFile(files[0]).schema)
    assert re.search(r"binary field_id=-1 docid \(String\)", schema)
    assert re.search(r"group field_id=-1 vector \(List\) \{\s+repeated group field_id=-1 list \{\s+\w+ float field_id=-1 element;", schema)
    assert main(["export", "vectors", *options, "--model", "distilled", "--output", str(tmp_path / "out")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["export", "vectors", *options, "--model", "reranker", "--output", str(tmp_path / "x")]) == 2
    assert "'reranker' has no vectors" in capsys.readouterr().err


def test_vectors_of_tokens_are_lists_of_lists():
    ragged = Vectors.ragged(np.arange(12, dtype=np.float32).reshape(6, 2), [1, 0, 5])
    found = vector_column(ragged)
    assert found.type == pa.list_(pa.list_(pa.float32(), 2))
    assert [len(text) for text in found.to_pylist()] == [1, 0, 5]
    assert found.to_pylist()[2][-1] == [10.0, 11.0]


def test_negatives_and_runs_as_tevatron_reads_them(searchable, options, tmp_path, capsys):
    store, paths = CorpusStore(searchable.paths.corpus), searchable.paths
    file = tmp_path / "out.jsonl"
    write = ["--output", str(file)]
    assert main(["export", "negatives", *options, "--model", "bm25", *write]) == 2
    assert "simlm mine-negatives --model bm25" in capsys.readouterr().err
    mined = [MinedQuery("train1", np.array([1], np.int32), np.array([7, 4], np.int32)), MinedQuery("train0", np.array([0], np.int32), np.array([89], np.int32))]
    write_negatives(paths.negatives("bm25"), mined, {"corpus_sha256": store.sha256}, MiningCounts(queries=2))
    assert main(["export", "negatives", *options, "--model", "bm25", *write]) == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["query_id"] for line in lines] == ["train1", "train0"]
    assert lines[0]["query"] == "read numbers"
    assert [passage["docid"] for passage in lines[0]["negative_passages"]] == ["d7", "d4"]
    title, text = (values[0] for values in store.texts([7]))
    assert lines[0]["negative_passages"][0] == {"docid": "d7", "title": title, "text": text}
    assert lines[1]["negative_passages"][0]["docid"] == "hostile"
    assert main(["export", "negatives", *options, "--model", "bm25", *write]) == 2
    assert "is there already" in capsys.readouterr().err
    assert file.read_text().splitlines() == [json.dumps(line, ensure_ascii=False) for line in lines]
    file.unlink()
    assert main(["search-bm25", *options, "--splits", "test"]) == 0
    assert main(["export", "run", *options, "--model", "bm25", "--depth", "3", *write]) == 0
    pairs = [json.loads(line) for line in file.read_text().splitlines()]
    run = [line.split() for line in paths.run("bm25", "test").read_text().splitlines()]
    wanted = [(query, one, float(score)) for query, _, one, rank, score, _ in run if int(rank) <= 3]
    assert [(pair["query_id"], pair["docid"], pair["score"]) for pair in pairs] == wanted
    assert pairs[0].keys() == {"query_id", "query", "docid", "title", "text", "score"}
    assert main(["export", "run", *options, "--model", "bm25", "--split", "tset", *write]) == 2
    assert "did you mean 'test'?" in capsys.readouterr().err


def test_without_the_packages_onnx_is_one_sentence(searchable, options, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("simlm.export.onnx.find_spec", lambda name: None)
    assert main(["export", "onnx", *options, "--model", "distilled", "--output", str(tmp_path / "out")]) == 2
    assert "run pip install onnx onnxscript onnxruntime" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_graph_gives_the_vectors(searchable, options, tmp_path):
    for name in NEEDED:
        pytest.importorskip(name, reason="an optional package: pip install 'simlm[onnx]'")
    import onnxruntime
    from transformers import AutoTokenizer

    from simlm.hardware import choose_precision
    from simlm.retrieval.opened import open_embedder

    assert main(["export", "onnx", *options, "--model", "distilled", "--output", str(tmp_path / "out")]) == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"))
    tokenizer, encoder = AutoTokenizer.from_pretrained(tmp_path / "out"), open_embedder(str(searchable.paths.model("distilled")), choose_precision("fp32"))
    reading = json.loads((tmp_path / "out" / "reading.json").read_text())
    # Other numbers of texts, and other lengths, than it was traced with.
    for count in (1, 7):
        texts = ["swap two columns", "sort", "read a list of numbers and write the matrix"][:count] * count
        batch = tokenizer(texts, padding=True, truncation=True, max_length=reading["lengths"]["query"], return_tensors="np")
        (found,) = session.run(["vector"], {name: batch[name].astype(np.int64) for name in reading["inputs"]})
        np.testing.assert_allclose(found, encoder.queries(texts), atol=1e-4)
