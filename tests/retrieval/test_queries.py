"""Query vectors that the embedding leaves for the search: used when they fit, made again when they do not, the same either way."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from simlm.cli import main


@pytest.fixture
def simlm(searchable):
    threads = torch.get_num_threads()

    def call(command, *options):
        assert main([command, "--experiment", "tiny", "--results", str(searchable.paths.root.parent), "--model", "distilled", *options]) == 0

    yield call
    torch.set_num_threads(threads)


@pytest.fixture
def run_file(simlm, searchable):
    simlm("encode")
    simlm("build-index")
    return searchable.paths.run("distilled", "test")


def test_the_embedding_leaves_what_the_graph_searches(run_file, searchable):
    folder = searchable.paths.embeddings("distilled")
    assert sorted(file.name for file in folder.glob("queries.*")) == ["queries.test.json", "queries.test.npy", "queries.train.json", "queries.train.npy"]
    vectors = np.load(folder / "queries.test.npy")
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-6)


def test_the_search_then_needs_neither_model_nor_torch(run_file, searchable):
    program = (
        "import sys; from simlm.cli import main; "
        f"code = main(['search-index', '--experiment', 'tiny', '--results', {str(searchable.paths.root.parent)!r}, '--model', 'distilled']); "
        "sys.exit(code or 10 * ('torch' in sys.modules) + 20 * ('transformers' in sys.modules))"
    )
    if torch.cuda.is_available():
        pytest.skip("with a GPU the search is torch's")
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
    assert run_file.exists()


def test_lost_damaged_or_foreign_vectors_are_made_again_the_same(run_file, simlm, searchable):
    simlm("search-index")
    expected, folder = run_file.read_bytes(), searchable.paths.embeddings("distilled")
    vectors = folder / "queries.test.npy"
    original = vectors.read_bytes()

    vectors.unlink()
    simlm("search-index")
    assert (vectors.read_bytes(), run_file.read_bytes()) == (original, expected)

    vectors.write_bytes(original[:-4] + b"\0\0\0\0")
    simlm("search-index")
    assert (vectors.read_bytes(), run_file.read_bytes()) == (original, expected)

    vectors.write_bytes((folder / "queries.train.npy").read_bytes())
    (folder / "queries.test.json").write_bytes((folder / "queries.train.json").read_bytes())
    simlm("search-index")
    assert (vectors.read_bytes(), run_file.read_bytes()) == (original, expected)


def test_another_model_gives_other_vectors(run_file, simlm, searchable, word_tokenizer, tiny_encoder):
    from simlm.models.folder import save_model

    vectors = searchable.paths.embeddings("distilled") / "queries.test.npy"
    before = np.load(vectors).copy()
    with torch.no_grad():
        tiny_encoder.encoder.layer[0].output.dense.bias += torch.linspace(-1, 1, 16)
    save_model(searchable.paths.model("distilled"), tiny_encoder, word_tokenizer, kind="biencoder", key="k", lengths={"query": 8, "passage": 24})
    simlm("encode")
    assert not np.allclose(np.load(vectors), before, atol=1e-3)
