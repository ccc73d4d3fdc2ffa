"""TSV has no quoting and no types, CSV has its quoting; mistakes are named with file and line."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from simlm.config.corpora import HubDataset
from simlm.corpus.prepare import prepare_corpus
from simlm.corpus.store import CorpusStore
from simlm.corpus.tables import open_table
from simlm.corpus.titles import with_titles
from simlm.errors import UserError

ODD = [
    ("0003", "NA", 'He said "hello'),
    ("1.0", "nan", '"Golden gate" is what they call it'),
    ("nan", "", "plain"),
    ("2020-01-02", "2021-03-04", "2022-05-06"),
    ("null", '"', 'a "" b'),
    ("1e5", "True", "007"),
]
"""Values that readers of tables take for numbers, dates, truth values or nothing, and quotation marks in odd places."""


def write(file: Path, rows, header=("_id", "title", "text")) -> None:
    ending = file.name.split(".", 1)[1]
    if ending.startswith("tsv"):
        text = "".join("\t".join(row) + "\n" for row in (header, *rows))
    elif ending.startswith("jsonl"):
        text = "".join(json.dumps(dict(zip(header, row))) + "\n" for row in rows)
    elif ending.startswith("json"):
        text = json.dumps([dict(zip(header, row)) for row in rows], indent=1)
    else:
        with open(file, "w", newline="") as stream:
            csv.writer(stream).writerows([header, *rows])
        text = file.read_bytes().decode()
    file.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())


@pytest.mark.parametrize("ending", ["tsv", "tsv.gz", "csv", "csv.gz", "jsonl", "jsonl.gz", "json"])
@pytest.mark.parametrize("name", ["data", "data [1]", "d*ta?{x}"])
def test_every_value_is_the_text_that_stands_there(tmp_path, monkeypatch, ending, name):
    """Through the whole path, in a folder given relatively whose name has characters of patterns."""
    folder = tmp_path / name
    (folder / "qrels").mkdir(parents=True)
    write(folder / f"corpus.{ending}", ODD)
    write(folder / f"queries.{ending}", [(f"00{i}", text) for i, (_, _, text) in enumerate(ODD)], ("_id", "text"))
    write(folder / f"qrels/test.{ending}", [(f"00{i}", one, "1.0") for i, (one, _, _) in enumerate(ODD)], ("query-id", "corpus-id", "score"))
    monkeypatch.chdir(tmp_path)
    prepare_corpus(HubDataset(source="hub", id=name, splits={"test": "test"}), tmp_path / "corpus")
    store = CorpusStore(tmp_path / "corpus")
    rows = range(len(ODD))
    assert list(zip(store.ids(rows), *store.texts(rows))) == ODD
    assert store.queries("test") == {f"00{i}": text for i, (_, _, text) in enumerate(ODD)}
    assert store.qrels("test") == {f"00{i}": {one: 1} for i, (one, _, _) in enumerate(ODD)}


@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl", "json", "tsv.gz"])
def test_titles_of_another_data_set_are_read_the_same_way(tmp_path, monkeypatch, ending):
    (tmp_path / "titles [2]").mkdir()
    write(tmp_path / f"titles [2]/corpus.{ending}", [(one, title) for one, title, _ in ODD], ("docid", "title"))
    monkeypatch.chdir(tmp_path)
    passages = [(one, "", text) for one, _, text in reversed(ODD)]
    assert list(with_titles(iter(passages), "titles [2]", Counter())) == [(one, title, text) for one, title, text in reversed(ODD)]


def test_a_csv_record_of_several_lines(tmp_path):
    (tmp_path / "a.csv").write_text('_id,text\nd1,"two\nlines, ""quoted"""\nd2,x\nd3\n')
    records = open_table([tmp_path / "a.csv"]).records(("_id",), ("text",))
    assert next(iter(records)) == ("d1", 'two\nlines, "quoted"')
    assert records.where(2) == f"{tmp_path}/a.csv:4"
    with pytest.raises(UserError, match=r"a.csv:5 has 1 columns, but the header has 2 \(_id, text\)"):
        list(records)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.csv", '_id,text\nd1,x\nd2,"open\nd3,y\n', r"a.csv:3 is not CSV \(a quotation is left open\)"),
        ("a.csv", '_id,text\nd1,"x"y\n', r"a.csv:2 is not CSV"),
        ("a.tsv", "_id\ttext\nd1\tx\ty\n", r"a.tsv:2 has 3 columns, but the header has 2"),
        ("a.tsv", "_id\ttext\nd1\n", r"a.tsv:2 has 1 columns, but the header has 2"),
        ("a.jsonl", "", r"a.jsonl' is empty; it must have the column _id"),
        ("a.tsv", "_id\ttext\nd1\tx\n\nd2\ty\n", r"a.tsv:3: the line is empty"),
        ("a.tsv", "_id\ttext\t_id\n", r"a.tsv:1: the column '_id' is there twice"),
        ("a.jsonl", '{"_id": "d1", "text": "x"}\n{\n', r"a.jsonl:2 is not JSON"),
        ("a.json", "[1]", r"a.json: item 1 is not a JSON object"),
        ("a.txt", "x", r"a.txt cannot be read: it must end in .jsonl"),
    ],
)
def test_mistakes_have_file_and_line(tmp_path, name, text, sentence):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=sentence):
        list(open_table([tmp_path / name]).records(("_id",), ("text",)))


def test_two_forms_of_one_table_are_refused(tmp_path):
    (tmp_path / "qrels").mkdir()
    for ending in ("tsv", "csv"):
        write(tmp_path / f"corpus.{ending}", ODD)
    with pytest.raises(UserError, match=r"holds corpus.csv, corpus.tsv: keep one form of 'corpus'"):
        prepare_corpus(HubDataset(source="hub", id=str(tmp_path), splits={"test": "test"}), tmp_path / "made")
