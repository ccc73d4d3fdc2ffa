"""DPR's Wikipedia and Natural Questions through ir_datasets, from a home in the true layout; its ids are bound to a home at import, hence processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from nq_home import DEV, PASSAGES, TEST, TRAIN, Collection, collection

from simlm.config.corpora import IrDatasets
from simlm.corpus.store import CorpusStore
from tests.corpus.test_ir_datasets_source import prepare

URL = "https://dl.fbaipublicfiles.com/dpr/data/retriever/nq-test.qa.csv"
SPLITS = {split: f"dpr-w100/natural-questions/{split}" for split in ("train", "dev")}
COUNTS = {"passages": PASSAGES, "queries": {"train": TRAIN, "dev": DEV}}
COUNTED = {"passages": PASSAGES, "queries": {"dev": DEV}}

READ = """
import json, sys
from simlm.corpus.ir_datasets_source import IrDatasets, read_ir_datasets
list(read_ir_datasets(IrDatasets(**json.loads(sys.argv[1]))).splits["dev"].queries)
"""

needs_ijson = pytest.mark.skipif(not any((Path(folder) / "ijson").is_dir() for folder in sys.path), reason="ir_datasets reads DPR's JSON with ijson")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Collection, Path, CorpusStore]:
    folder, made = tmp_path_factory.mktemp("nq"), collection()
    home = made.write(folder / "home")
    done = prepare(home, folder / "corpus", passages="dpr-w100", splits=SPLITS, questions={"test": URL}, expected=COUNTS)
    assert done.returncode == 0, done.stderr
    return made, home, CorpusStore(folder / "corpus")


@needs_ijson
def test_quotation_marks_of_the_file_are_undone_once(world):
    made, _, store = world
    assert store.ids(range(PASSAGES)) == [str(i) for i in range(1, PASSAGES + 1)]
    titles, texts = store.texts(range(PASSAGES))
    assert titles == [title for title, _ in made.passages]
    assert texts == [text for _, text in made.passages]
    assert titles[0] == '"Ada Lovelace" (sketch)'
    assert texts[0].endswith('and called it "the best of all".')


@needs_ijson
def test_questions_answers_and_grades(world):
    made, _, store = world
    for split, records in made.questions.items():
        assert list(store.queries(split).values()) == [record["question"].replace("’", "'") for record in records]
        assert list(store.answers(split).values()) == [record["answers"] for record in records]
        for graded, record in zip(store.qrels(split).values(), records):
            assert {passage for passage, grade in graded.items() if grade == 2} == {record["positive_ctxs"][0]["passage_id"]}
            assert {passage for passage, grade in graded.items() if grade == 0} == {context["passage_id"] for context in record["hard_negative_ctxs"]}
            assert {passage for passage, grade in graded.items() if grade == -1} == {context["passage_id"] for context in record["negative_ctxs"]}
    assert list(store.answers("test").items()) == [(f"test-{i}", answers) for i, (_, answers) in enumerate(made.test)]
    assert len(store.queries("test")) == TEST
    assert store.qrels("test") == {}
    assert store.manifest["splits"]["test"]["answers"] == TEST


@needs_ijson
def test_a_test_file_that_cannot_be_fetched_is_named_with_its_place(tmp_path):
    collection().write(tmp_path / "home")
    (tmp_path / "home/questions/nq-test.qa.csv").unlink()
    done = prepare(tmp_path / "home", tmp_path / "corpus", passages="dpr-w100", splits={"dev": SPLITS["dev"]}, questions={"test": URL}, expected=COUNTED)
    assert done.returncode == 1
    assert f"corpus.questions.test: {URL} could not be downloaded" in done.stderr
    assert f"save it as {tmp_path}/home/questions/nq-test.qa.csv" in done.stderr


def test_a_package_that_is_not_there_is_said_so(tmp_path):
    collection().write(tmp_path / "home")
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/ijson.py").write_text("raise ImportError('hidden')")
    block = {"source": "ir_datasets", "passages": "dpr-w100", "splits": {"dev": SPLITS["dev"]}}
    environment = {
        **os.environ,
        "IR_DATASETS_HOME": str(tmp_path / "home"),
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "hidden"), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run([sys.executable, "-c", READ, json.dumps(block)], env=environment, capture_output=True, text=True, timeout=120)
    assert "UserError: 'dpr-w100/natural-questions/dev' needs a package that is not installed (This dataset requires ijson" in done.stderr


def test_which_splits_have_what():
    block = IrDatasets(source="ir_datasets", passages="dpr-w100", splits=SPLITS, questions={"test": URL})
    assert block.split_names() == ["train", "dev", "test"]
    assert [block.has_judgements(split) for split in block.split_names()] == [True, True, False]
    assert [block.has_answers(split) for split in block.split_names()] == [True, True, True]
    cut = IrDatasets(source="ir_datasets", passages="dpr-w100", splits=SPLITS, questions={"all": URL}, partition={"of": "all", "parts": {"a": 0.5, "b": 0.5}})
    assert (cut.has_judgements("a"), cut.has_answers("b")) == (False, True)
    plain = IrDatasets(source="ir_datasets", passages="msmarco-passage", splits={"dev": "msmarco-passage/dev/small"})
    assert (plain.has_judgements("dev"), plain.has_answers("dev")) == (True, False)
    with pytest.raises(ValueError, match="'train' is also one of 'splits'"):
        IrDatasets(source="ir_datasets", passages="dpr-w100", splits=SPLITS, questions={"train": URL})
