"""Sources that hold something wrong: one sentence with file and line, exit code 2, and the corpus of before stays."""

from __future__ import annotations

import gzip
import json

import pytest
from small_world import Place, write_configuration, write_data

C = ["prepare-corpus", "--config", "config.yaml"]
CORPUS, QUERIES, DEV = "corpus.jsonl", "queries.jsonl", "qrels/dev.tsv"


def passage(**over) -> str:
    return json.dumps({"_id": "p3", "title": "t", "text": "some text", **over})


def line(name: str, number: int, text: str | bytes):
    """Replace a line (from 1)."""

    def do(folder) -> None:
        file = folder / name
        lines = file.read_bytes().split(b"\n")
        lines[number - 1] = text if isinstance(text, bytes) else text.encode()
        file.write_bytes(b"\n".join(lines))

    return do


def whole(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


def packed(content: bytes):
    def do(folder) -> None:
        (folder / CORPUS).unlink()
        (folder / f"{CORPUS}.gz").write_bytes(content)

    return do


def remove(name: str):
    return lambda folder: (folder / name).unlink()


def utf16(folder) -> None:
    file = folder / CORPUS
    file.write_text(file.read_text(), encoding="utf-16")


HEAD = "query-id\tcorpus-id\tscore\n"

CASES = {
    "passages in Latin-1": (line(CORPUS, 4, passage(text="x").encode().replace(b"x", b"gr\xfcn")), ["corpus.jsonl:4 is not UTF-8", "convert"]),
    "passages in UTF-16": (utf16, ["corpus.jsonl:1", "convert"]),
    "a torn line": (line(CORPUS, 5, '{"_id": "p4", "te'), ["corpus.jsonl:5 is not JSON", "column"]),
    "an empty line": (line(CORPUS, 5, ""), ["corpus.jsonl:5: the line is empty"]),
    "a list for an object": (line(CORPUS, 4, '["p3", "text"]'), ["corpus.jsonl:4 is not a JSON object"]),
    "brackets without end": (line(CORPUS, 4, "[" * 100_000), ["corpus.jsonl:4 is not"]),
    "a number of five thousand digits": (line(CORPUS, 4, '{"_id": ' + "1" * 5000 + ', "text": "x"}'), ["corpus.jsonl:4 is not"]),
    "another program's file": (whole(CORPUS, b"\x89PNG\r\n\x1a\n" + bytes(99)), ["corpus.jsonl:1"]),
    "nothing at all": (whole(CORPUS, b""), ["the corpus has no passages", "corpus.jsonl"]),
    "no key for the id": (line(CORPUS, 4, '{"id": "p3", "text": "x"}'), ["corpus.jsonl:4 lacks the key '_id'", "did you mean 'id'?"]),
    "null for a text": (line(CORPUS, 4, passage(text=None)), ["corpus.jsonl:4: the text must be a string, not null"]),
    "null for an id": (line(CORPUS, 4, passage(_id=None)), ["corpus.jsonl:4: the id of a passage", "not null"]),
    "a fraction for an id": (line(CORPUS, 4, passage(_id=1.5)), ["corpus.jsonl:4: the id of a passage", "not float"]),
    "true for an id": (line(CORPUS, 4, passage(_id=True)), ["corpus.jsonl:4: the id of a passage", "not bool"]),
    "an empty id": (line(CORPUS, 4, passage(_id="")), ["corpus.jsonl:4: the id of the passage is empty"]),
    "an id with a space": (line(CORPUS, 4, passage(_id="p 3")), ["corpus.jsonl:4: the passage id 'p 3' holds white space"]),
    "an id with a tab": (line(CORPUS, 4, passage(_id="p\t3")), ["corpus.jsonl:4", "white space"]),
    "an id with a no-break space": (line(CORPUS, 4, passage(_id="p\u00a03")), ["corpus.jsonl:4", "white space"]),
    "an id with a zero byte": (line(CORPUS, 4, passage(_id="p\0003")), ["corpus.jsonl:4", "control characters"]),
    "an id that colours the terminal": (line(CORPUS, 4, passage(_id="\x1b[31mp3")), ["corpus.jsonl:4", "control characters"]),
    "half a surrogate pair": (line(CORPUS, 4, '{"_id": "p3", "text": "\\ud800"}'), ["corpus.jsonl:4", "surrogate pair"]),
    "the same id twice": (line(CORPUS, 4, passage(_id="p1")), ["corpus.jsonl:4: the passage id 'p1' was used before", "corpus.jsonl:2"]),
    "the same id as number and as text": (line(CORPUS, 4, passage(_id="p3").replace('"p3"', "7") + "\n" + passage(_id="7")), ["the passage id '7'"]),
    "a truncated archive": (packed(gzip.compress(passage().encode() * 999)[:60]), ["corpus.jsonl.gz cannot be read after line"]),
    "no archive": (packed(b"plain text"), ["corpus.jsonl.gz:1 is not JSON"]),
    "an empty query": (line(QUERIES, 41, '{"_id": "q40", "text": "  "}'), ["queries.jsonl:41: the query 'q40' is empty"]),
    "a query twice": (line(QUERIES, 42, '{"_id": "q40", "text": "again"}'), ["queries.jsonl:42: the query id 'q40' was used before"]),
    "a null query": (line(QUERIES, 41, '{"_id": "q40", "text": null}'), ["queries.jsonl:41", "not null"]),
    "a judgement with spaces": (line(DEV, 3, "q41 p41 1"), ["dev.tsv:3 is not a judgement", "query id, passage id"]),
    "a grade in words": (line(DEV, 3, "q41\tp41\tyes"), ["dev.tsv:3 is not a judgement", "whole number, not 'yes'"]),
    "a grade of five thousand digits": (line(DEV, 3, "q41\tp41\t" + "1" * 5000), ["dev.tsv:3 is not a judgement", "whole number"]),
    "a grade beyond 32 bits": (line(DEV, 3, "q41\tp41\t99999999999"), ["dev.tsv:3 is not a judgement: the grade 99999999999 is too large"]),
    "no judgements": (whole(DEV, HEAD.encode()), ["the split dev has no judgements"]),
    "no file of judgements": (remove(DEV), ["dev.tsv does not exist"]),
    "no queries": (remove(QUERIES), ["data has neither queries.jsonl nor queries.jsonl.gz"]),
}


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder with a good corpus, prepared once, so that it can be seen to stay."""
    from simlm.cli import main

    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "data")
    write_configuration(tmp_path)
    assert main(C) == 0
    return Place(tmp_path)


@pytest.mark.parametrize(("damage", "fragments"), CASES.values(), ids=CASES)
def test_is_refused(source, refused, damage, fragments):
    damage(source.root / "data")
    sentence = refused(source, *C)
    for fragment in fragments:
        assert fragment in sentence, sentence


@pytest.mark.parametrize(
    ("judgement", "sentence"),
    [
        ("q41\tp999\t1", "caution: dev: the corpus lacks the passages of 1 of 10 judgements"),
        ("q99\tp41\t1", "caution: dev: 1 of 10 judged queries have no text and are left out (data/qrels/dev.tsv:3: there is no query with the id 'q99'"),
    ],
)
def test_judgements_of_what_is_not_there_are_counted(source, capsys, judgement, sentence):
    """Collections are published that way (BEIR's ArguAna), and the figures that are published for them count it so."""
    from simlm.cli import main

    line(DEV, 3, judgement)(source.root / "data")
    assert main(C) == 0
    said = capsys.readouterr()
    assert sentence in said.out + said.err
