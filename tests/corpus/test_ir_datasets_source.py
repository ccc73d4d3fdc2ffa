"""ir_datasets through a small home directory in its true layout; its ids are bound to a home at import, hence processes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile

import pytest

from simlm.config.corpora import IrDatasets
from simlm.corpus.ir_datasets_source import _fetching, read_ir_datasets
from simlm.corpus.store import CorpusStore
from simlm.errors import UserError

PREPARE = """
import json, sys
from simlm.config.corpora import IrDatasets
from simlm.corpus.prepare import prepare_corpus
from simlm.errors import UserError
try:
    prepare_corpus(IrDatasets(source="ir_datasets", **json.loads(sys.argv[1])), sys.argv[2])
except UserError as error:
    sys.exit(str(error))
"""


def prepare(home, folder, **settings):
    """Run the source in a process of its own; no network is reachable through the proxy it is given."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {**os.environ, "IR_DATASETS_HOME": str(home), **nowhere}
    environment.pop("IR_DATASETS_SMALL_FILE_SIZE", None)
    return subprocess.run([sys.executable, "-c", PREPARE, json.dumps(settings), str(folder)], env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def home(tmp_path):
    """A home with cranfield (4 documents, 3 queries) and beir/nfcorpus (3 documents) where ir_datasets looks for its downloads."""
    home = tmp_path / "home"
    (home / "cranfield").mkdir(parents=True)
    documents = "".join(f".I {n}\n.T\ntitle {n}\n.A\nauthor\n.B\nbook\n.W\ntext of {n} .\n" for n in range(1, 5))
    queries = ".I 001\n.W\nwhat similarity\nlaws .\n.I 004\n.W\nwhat problems .\n.I 007\n.W\nwhat flight .\n"
    with tarfile.open(home / "cranfield/cran.tar.gz", "w:gz") as archive:
        for name, content in (("cran.all.1400", documents), ("cran.qry", queries), ("cranqrel", "1 2 2 \n2 1 3 \n2 4 -1 \n3 3 1 \n")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content.encode())
            archive.addfile(entry, io.BytesIO(content.encode()))
    (home / "beir/nfcorpus").mkdir(parents=True)
    with zipfile.ZipFile(home / "beir/nfcorpus/source.zip", "w") as archive:
        lines = [{"_id": f"MED-{n}", "title": f"Title {n}", "text": f"Text {n}", "metadata": {"url": "u"}} for n in range(3)]
        archive.writestr("nfcorpus/corpus.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        queries = [{"_id": f"PLAIN-{n}", "text": f"query {n}", "metadata": {"url": "u"}} for n in range(4)]
        archive.writestr("nfcorpus/queries.jsonl", "".join(json.dumps(line) + "\n" for line in queries))
        for n, split in enumerate(("train", "dev", "test")):
            archive.writestr(f"nfcorpus/qrels/{split}.tsv", f"query-id\tcorpus-id\tscore\nPLAIN-{n}\tMED-{n}\t2\n")
    return home


def test_beir_nfcorpus(home, tmp_path):
    result = prepare(home, tmp_path / "corpus", passages="beir/nfcorpus", splits={split: f"beir/nfcorpus/{split}" for split in ("train", "test")})
    assert result.returncode == 0, result.stderr
    store = CorpusStore(tmp_path / "corpus")
    assert (store.ids(range(3)), store.texts([1])) == (["MED-0", "MED-1", "MED-2"], (["Title 1"], ["Text 1"]))
    assert (store.queries("train"), store.qrels("test")) == ({"PLAIN-0": "query 0"}, {"PLAIN-2": {"MED-2": 2}})


def test_one_set_of_queries_is_cut_into_parts(home, tmp_path):
    cut = {"of": "all", "parts": {"train": 0.5, "test": 0.5}}
    result = prepare(home, tmp_path / "corpus", passages="cranfield", splits={"all": "cranfield"}, partition=cut)
    assert result.returncode == 0, result.stderr
    store = CorpusStore(tmp_path / "corpus")
    assert store.splits == ["test", "train"]
    both = store.qrels("train") | store.qrels("test")
    assert both == {"1": {"2": 2}, "2": {"1": 3, "4": -1}, "3": {"3": 1}}
    assert store.positives("train") | store.positives("test") == {"1": [1], "2": [0], "3": [2]}


def test_what_cannot_be_downloaded_is_named_with_its_place(home, tmp_path):
    result = prepare(home, tmp_path / "corpus", passages="beir/scifact", splits={"test": "beir/scifact/test"})
    assert result.returncode == 1
    sentence = result.stderr.strip().splitlines()[-1]
    assert sentence.startswith("'beir/scifact/test' needs https://")
    assert f"save it as {home}/downloads/5f7d1de60b170fc8027bb7898e2efca1" in sentence
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"passages": "msmarco-passge", "splits": {"test": "msmarco-passage/dev/small"}},
            r"corpus.passages: ir_datasets has no collection 'msmarco-passge'; did you mean 'msmarco-passage'\?",
        ),
        ({"passages": "msmarco-passage", "splits": {"test": "msmarco-passage/dev/smal"}}, r"corpus.splits.test: .*did you mean 'msmarco-passage/dev/small'\?"),
        ({"passages": "msmarco-passage", "splits": {"test": "msmarco-passage"}}, "the collection 'msmarco-passage' has no queries"),
    ],
)
def test_unknown_ids_are_named(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        read_ir_datasets(IrDatasets(source="ir_datasets", **settings))


def fail(error):
    with _fetching("cranfield"):
        raise error


def test_other_failures_become_a_sentence_too():
    with pytest.raises(UserError, match=r"ir_datasets could not read 'cranfield' \(ValueError: broken file\)"):
        fail(ValueError("broken file"))
