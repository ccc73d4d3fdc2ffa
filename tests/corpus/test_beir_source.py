"""BEIR folders: plain and compressed, and every mistake with its file and line."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from simlm.config.corpora import BeirFolder
from simlm.corpus.prepare import prepare_corpus
from simlm.corpus.store import CorpusStore
from simlm.errors import UserError
from simlm.evaluation.metrics import evaluate_run, parse_metrics
from simlm.runs.runs import TrecRanking

CORPUS = [{"_id": "d1", "title": "Bread", "text": "Flour and water."}, {"_id": 2, "text": "Salt.", "url": "x"}, {"_id": "d3", "title": None, "text": "Ärger"}]
QUERIES = [{"_id": "q1", "text": "how to bake"}, {"_id": "q2", "text": "spices"}, {"_id": "q3", "text": "unused"}]
QRELS = ["query-id\tcorpus-id\tscore", "q1\td1\t2", "q2\t2\t1", "q2\td3\t0"]


def lines(objects):
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mine"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(lines(CORPUS))
    (folder / "queries.jsonl").write_text(lines(QUERIES))
    (folder / "qrels/train.tsv").write_text("\n".join(QRELS) + "\n")
    return folder


def prepare(folder, **options):
    block = BeirFolder(source="beir", path=str(folder), **{"splits": {"test": "train"}, **options})
    return prepare_corpus(block, folder.parent / "corpus")


def test_plain_compressed_with_byte_order_mark_and_without_header_are_the_same(folder):
    plain = prepare(folder)
    store = CorpusStore(folder.parent / "corpus")
    assert store.ids(range(3)) == ["d1", "2", "d3"]
    assert store.texts(range(3)) == (["Bread", "", ""], ["Flour and water.", "Salt.", "Ärger"])
    assert store.qrels("test") == {"q1": {"d1": 2}, "q2": {"2": 1, "d3": 0}}
    (folder / "corpus.jsonl").unlink()
    with gzip.open(folder / "corpus.jsonl.gz", "wb") as stream:
        stream.write(b"\xef\xbb\xbf" + lines(CORPUS).encode() + b"\n\n")
    (folder / "qrels/train.tsv").write_text("\r\n".join(QRELS[1:]) + "\r\n")
    assert prepare(folder)["sha256"] == plain["sha256"]


def rewrite(name, text):
    return lambda folder: (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (rewrite("corpus.jsonl", lines(CORPUS) + '{"_id": "d4", "text": \n'), r"corpus.jsonl:4 is not JSON"),
        (rewrite("corpus.jsonl", lines(CORPUS) + "[1]\n"), r"corpus.jsonl:4 is not a JSON object"),
        (rewrite("corpus.jsonl", lines(CORPUS) + '{"id": "d4", "text": "x"}\n'), r"corpus.jsonl:4 lacks the key '_id'; did you mean 'id'\?"),
        (rewrite("corpus.jsonl", lines(CORPUS) + '{"_id": "d1", "text": "x"}\n'), r"corpus.jsonl:4: the passage id 'd1' was used before, at .*corpus.jsonl:1;"),
        (rewrite("corpus.jsonl", lines(CORPUS[:1]) + "\n" + lines(CORPUS[1:])), r"corpus.jsonl:2: the line is empty"),
        (rewrite("corpus.jsonl", lines(CORPUS).encode("latin-1")), r"corpus.jsonl:3 is not UTF-8"),
        (rewrite("corpus.jsonl", lines([*CORPUS, {"_id": "d4", "text": None}])), r"corpus.jsonl:4: the text must be a string, not null"),
        (rewrite("queries.jsonl", ""), r"the split test has no queries"),
        (rewrite("queries.jsonl", lines([{"_id": "q1", "text": ""}, *QUERIES[1:]])), r"queries.jsonl:1: the query 'q1' is empty"),
        (rewrite("queries.jsonl", "{\n"), r"queries.jsonl:1 is not JSON"),
        (
            rewrite("qrels/train.tsv", "\n".join([*QRELS, "q1\td1"])),
            r"train.tsv:5 is not a judgement: it must hold query id, passage id and a whole-number grade",
        ),
        (rewrite("qrels/train.tsv", "\n".join([*QRELS, "q1 0 d1 1"])), r"train.tsv:5 is not a judgement"),
        (rewrite("qrels/train.tsv", "query-id\tcorpus-id\tscore\n"), r"the split test has no judgements"),
        (rewrite("qrels/train.tsv", ""), r"the split test has no judgements"),
        (
            rewrite("qrels/train.tsv", "q1\td8\t1\nq2\td9\t1\n"),
            r"the corpus has none of the 2 passages that are judged for the split test, such as 'd8' \(.*tsv:1\)",
        ),
        (rewrite("qrels/train.tsv", "q7\td1\t1\nq8\td1\t1\n"), r"the split test has no queries \(.*check that the ids of the judgements"),
        (lambda folder: (folder / "queries.jsonl").unlink(), r"neither queries.jsonl nor queries.jsonl.gz"),
        (
            lambda folder: (folder / "qrels/train.tsv").rename(folder / "qrels/trains.tsv"),
            r"train.tsv does not exist; did you mean 'trains'\? \(there are trains\)",
        ),
    ],
)
def test_mistakes_are_named_with_file_and_line(folder, harm, sentence):
    harm(folder)
    with pytest.raises(UserError, match=sentence):
        prepare(folder)
    assert not (folder.parent / "corpus").exists()


def test_a_truncated_archive_is_named(folder):
    data = gzip.compress(lines(CORPUS).encode())
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl.gz").write_bytes(data[:-12])
    with pytest.raises(UserError, match=r"corpus.jsonl.gz cannot be read after line"):
        prepare(folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"corpus.path: the folder .*nowhere does not exist"):
        prepare(tmp_path / "nowhere")


def test_judged_passages_that_the_corpus_lacks_stay_in_the_ideal_ranking(folder):
    """As BEIR's ArguAna has them: nDCG by hand, DCG of one hit at rank 1 over the ideal gain of two."""
    (folder / "qrels/train.tsv").write_text("\n".join([*QRELS, "q1\tgone\t2"]) + "\n")
    manifest = prepare(folder)
    store = CorpusStore(folder.parent / "corpus")
    assert manifest["splits"]["test"]["judgements_of_absent_passages"] == 1
    assert store.qrels("test")["q1"] == {"d1": 2, "gone": 2}
    assert store.positives("test") == {"q1": [0], "q2": [1]}
    found = evaluate_run([TrecRanking("q1", ["d1"], np.array([1.0]))], {"q1": store.qrels("test")["q1"]}, parse_metrics(["nDCG@10", "R@10"]))
    assert found.averages == {"nDCG@10": pytest.approx(2 / (2 + 2 / np.log2(3))), "R@10": 0.5}


def test_judged_queries_without_text_are_counted(folder):
    (folder / "qrels/train.tsv").write_text("\n".join([*QRELS, "q8\td1\t1", "q8\td3\t1"]) + "\n")
    split = prepare(folder)["splits"]["test"]
    assert (split["queries"], split["dropped"]["judged_queries_without_text"], split["dropped"]["judgements_of_queries_without_text"]) == (2, 1, 2)
    assert "train.tsv:5: there is no query with the id 'q8'" in split["example_without_text"]


@pytest.mark.parametrize("ending", [".tsv", ".tsv.gz", ".jsonl", ".qrels", ".csv", ".parquet"])
def test_judgements_in_every_form_are_the_same(folder, ending):
    rows = [tuple(line.split("\t")) for line in QRELS[1:]]
    plain = prepare(folder)
    (folder / "qrels/train.tsv").unlink()
    file = folder / f"qrels/train{ending}"
    if ending == ".parquet":
        pd.DataFrame([(q, p, float(g)) for q, p, g in rows], columns=["query-id", "corpus-id", "score"]).to_parquet(file)
    else:
        text = {
            ".tsv": "".join(f"{q}\t{p}\t{g}.0\n" for q, p, g in rows),
            ".tsv.gz": "query-id\tcorpus-id\trelevance\n" + "".join(f"{q}\t{p}\t{g}\n" for q, p, g in rows),
            ".jsonl": lines([{"query-id": q, "corpus-id": p, "score": float(g)} for q, p, g in rows]),
            ".qrels": "".join(f"{q} 0 {p} {g}\n" for q, p, g in rows),
            ".csv": "corpus-id,query-id,label\n" + "".join(f'"{p}",{q},{g}\n' for q, p, g in rows),
        }[ending]
        file.write_bytes(gzip.compress(text.encode()) if ending.endswith(".gz") else text.encode())
    assert prepare(folder)["sha256"] == plain["sha256"]
