"""`simlm embed`: texts from anywhere become the vectors that the experiment, or sentence-transformers, would make of them."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from simlm.cli import main
from simlm.corpus.store import CorpusStore
from simlm.vectors.shards import Shards

pytestmark = pytest.mark.usefixtures("threads_as_before")


@pytest.fixture
def options(searchable):
    return ["--experiment", "tiny", "--results", str(searchable.paths.root.parent), "--model", "distilled"]


def write_corpus(store, file):
    ids, (titles, texts) = store.ids(range(len(store))), store.texts(range(len(store)))
    file.write_text("".join(json.dumps({"_id": i, "title": t, "text": x}) + "\n" for i, t, x in zip(ids, titles, texts)))
    return ids


def test_passages_get_the_bits_of_the_experiment(searchable, options, tmp_path):
    assert main(["encode", *options, "--shards", "1"]) == 0
    store = CorpusStore(searchable.paths.corpus)
    ids = write_corpus(store, tmp_path / "corpus.jsonl")
    wanted = np.load(searchable.paths.embeddings("distilled") / "1-of-1.npy")
    for place in ("out", "out.npy", "out.parquet"):
        assert main(["embed", str(tmp_path / "corpus.jsonl"), *options, "--output", str(tmp_path / place)]) == 0
    shards = Shards(tmp_path / "out", 1)
    shards.verify()
    np.testing.assert_array_equal(shards.take(np.arange(len(store))).values, wanted)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), wanted)
    assert (tmp_path / "out" / "ids.txt").read_text().split() == (tmp_path / "out.ids.txt").read_text().split() == ids
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["docid"].to_pylist() == ids
    np.testing.assert_array_equal(np.array(table["vector"].to_pylist(), np.float32), wanted)


def test_every_form_and_the_standard_input_give_the_same_queries(searchable, options, tmp_path, monkeypatch):
    texts = ["swap two columns", "invert a matrix", "swap two columns of a matrix and sort the rows"]
    forms = {
        "a.txt": "\n".join(texts) + "\n",
        "a.tsv": "".join(f"{n}\t{text}\n" for n, text in enumerate(texts, 1)),
        "headed.tsv": "id\ttext\n" + "".join(f"{n}\t{text}\n" for n, text in enumerate(texts, 1)),
        "a.jsonl": "".join(json.dumps({"_id": str(n), "text": text}) + "\n" for n, text in enumerate(texts, 1)),
    }
    found = []
    for name, content in forms.items():
        (tmp_path / name).write_text(content)
        assert main(["embed", str(tmp_path / name), *options, "--side", "query", "--output", str(tmp_path / f"{name}.npy")]) == 0
        assert (tmp_path / f"{name}.ids.txt").read_text() == "1\n2\n3\n"
        found.append(np.load(tmp_path / f"{name}.npy"))
    for form in ("a.txt", "a.jsonl"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(forms[form].encode())))
        assert main(["embed", "-", *options, "--side", "query", "--output", str(tmp_path / f"piped-{form}.npy")]) == 0
        found.append(np.load(tmp_path / f"piped-{form}.npy"))
    assert all((one == found[0]).all() for one in found)
    assert np.allclose(np.linalg.norm(found[0], axis=1), 1, atol=1e-6)
    passage = ["embed", str(tmp_path / "a.txt"), *options, "--output", str(tmp_path / "p.npy")]
    assert main(passage) == 0
    assert not np.allclose(np.load(tmp_path / "p.npy"), found[0], atol=1e-3)


def test_a_published_folder_is_read_as_it_says_of_itself(tmp_path, tiny_encoder, word_tokenizer):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    tiny_encoder.save_pretrained(tmp_path / "bert")
    word_tokenizer.model_max_length = 32
    word_tokenizer.save_pretrained(tmp_path / "bert")
    transformer = modules.Transformer(str(tmp_path / "bert"), max_seq_length=32)
    model = SentenceTransformer(modules=[transformer, modules.Pooling(16, "mean"), modules.Normalize()], device="cpu")
    model.save(str(tmp_path / "published"))
    texts = ["swap two columns", "sort", "read a list of numbers and write the matrix"]
    (tmp_path / "a.txt").write_text("\n".join(texts))
    assert main(["embed", str(tmp_path / "a.txt"), "--model", str(tmp_path / "published"), "--output", str(tmp_path / "out.npy"), "--dtype", "fp16"]) == 0
    assert np.load(tmp_path / "out.npy").dtype == np.float16
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), model.encode(texts), atol=1e-3)


@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        ('{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}\n', "a.jsonl", "the id 'a' is there twice"),
        ('{"_id": "a", "txt": "x"}\n', "a.jsonl", "has none of the columns text"),
        ("", "a.txt", "there is no text to embed"),
        ("a\tb\nc\n", "a.tsv", "a.tsv:2 has 1 columns"),
        ("docno\tbody\nd1\tbread\n", "a.tsv", "a.tsv:1 looks like a header (docno, body), but no column is called text, contents, query; rename"),
        ("x", "a.docx", "cannot be read: it must end in"),
    ],
)
def test_bad_texts_are_one_sentence_and_nothing_is_left(options, tmp_path, capsys, content, name, sentence):
    (tmp_path / name).write_text(content)
    before = sorted(tmp_path.iterdir())
    for place in ("out", "out.npy", "out.parquet"):
        assert main(["embed", str(tmp_path / name), *options, "--output", str(tmp_path / place)]) == 2
        said = capsys.readouterr().err
        assert sentence in said.splitlines()[-1], said
    assert sorted(tmp_path.iterdir()) == before


def test_a_model_that_does_not_embed_is_refused(searchable, options, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("x")
    here = ["embed", str(tmp_path / "a.txt"), "--output", str(tmp_path / "out")]
    assert main([*here, *options[:-1], "distilledd"]) == 2
    assert "did you mean 'distilled'?" in capsys.readouterr().err
    assert main([*here, "--model", str(searchable.paths.model("reranker"))]) == 2
    assert "does not embed" in capsys.readouterr().err
    assert main([*here, "--model", str(tmp_path / "nothing")]) == 2
    assert "does not exist" in capsys.readouterr().err
