"""The command on the example of docs/own-data.md, and its record."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from simlm.cli import main
from simlm.config import load_experiment
from simlm.corpus.store import CorpusStore

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "config/examples/own-corpus.yaml"
REAL = ROOT / "config/examples/real-corpus.yaml"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of the example where the command runs."""
    shutil.copytree(EXAMPLE.parent, tmp_path / "config/examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example_is_a_valid_experiment():
    experiment = load_experiment(EXAMPLE)
    assert experiment.corpus.split_names() == ["train", "dev", "test"]


def test_the_example_becomes_a_corpus_with_a_record(folder, capsys):
    assert main(["prepare-corpus", "--config", "config/examples/own-corpus.yaml"]) == 0
    printed = capsys.readouterr().out
    store = CorpusStore("results/own-corpus/corpus")
    assert f"{len(store)} passages" in printed
    assert store.sha256 in printed
    record = json.loads(Path("results/own-corpus/stages/prepare_corpus.json").read_text())
    assert record["stage"] == "prepare_corpus"
    assert record["metrics"]["passages"] == len(store)
    assert record["notes"]["corpus_sha256"] == store.sha256
    assert record["outputs"]["manifest"]["path"].endswith("corpus/manifest.json")


def test_a_query_of_two_splits_is_a_caution(folder, capsys):
    train, test = (Path(f"config/examples/own-corpus/qrels/{name}.tsv") for name in ("train", "test"))
    test.write_text(test.read_text() + train.read_text().splitlines()[1] + "\n")
    assert main(["prepare-corpus", "--config", "config/examples/own-corpus.yaml"]) == 0
    assert "caution: 1 query ids stand in more than one split" in capsys.readouterr().err
    record = json.loads(Path("results/own-corpus/stages/prepare_corpus.json").read_text())
    assert len(record["notes"]["cautions"]) == 1


def test_a_mistake_is_one_line_and_exit_code_2(folder, capsys):
    corpus = Path("config/examples/own-corpus/corpus.jsonl")
    corpus.write_text(corpus.read_text() + "{oops\n")
    number = len(corpus.read_text().splitlines())
    assert main(["prepare-corpus", "--config", "config/examples/own-corpus.yaml"]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith(f"simlm prepare-corpus: {corpus}:{number} is not JSON")
    assert not Path("results/own-corpus/corpus").exists()
    assert not Path("results/own-corpus/stages/prepare_corpus.json").exists()


def test_the_page_shows_the_files_of_the_example():
    page = (ROOT / "docs/own-data.md").read_text()
    for file in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv"):
        for line in (EXAMPLE.with_suffix("") / file).read_text().splitlines()[:2]:
            assert line in page, file
    assert EXAMPLE.read_text() in page
    assert REAL.read_text() in page


def test_the_overlay_for_real_data_keeps_the_defaults_graph_and_nothing_of_its_corpus():
    layers = [ROOT / "config/config.yaml", ROOT / "config/from-scratch.yaml"]
    mine = load_experiment(*layers, REAL)
    assert mine.corpus.model_dump(exclude_unset=True) == {"source": "beir", "path": "data/mine", "splits": {name: name for name in ("train", "dev", "test")}}
    assert mine.evaluate.systems == load_experiment(*layers).evaluate.systems
    assert not mine.tokenizer.split_names
