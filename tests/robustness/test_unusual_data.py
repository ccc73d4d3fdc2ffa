"""Data that looks wrong and is not: it goes through the whole chain."""

from __future__ import annotations

import json

import pytest
from small_world import Place, write_configuration, write_data

from simlm.cli import main
from simlm.corpus.store import CorpusStore

pytestmark = pytest.mark.slow

C = ["--config", "config.yaml"]
HUGE = 3_000_000
UNUSUAL = {
    "hebrew-שלום": ("שלום", "ברוך הבא אל החיפוש בעברית, מימין לשמאל"),
    "arabic": ("", "مرحبا بالعالم هذا نص من اليمين إلى اليسار"),
    "emoji-🙂": ("🙂 faces", "thumbs up 👍🏽 and a family 👨‍👩‍👧‍👦 and a flag 🇩🇪"),
    "combining": ("Café", "cafe\u0301 re\u0301sume\u0301"),
    "separators": ("", "a line\u2028separator, a form\u000cfeed, a next\u0085line, a tab\tand a carriage\rreturn"),
    "zero": ("", "a zero\0byte and an \ufeff invisible mark and a \u202e turned text"),
    "empty": ("", ""),
    "space": (" ", "   "),
    "marks": ("", "!!! ??? ... ---"),
    "one": ("", "x"),
    "wiki/Path_(page)#1?a=b&c:d": ("", "an identifier with slashes"),
    "null-title": (None, "the title is null"),
    "html": ("<script>", "<b>bold</b> &amp; </script> {{ braces }} {wildcard} $(command) `ticks` %s"),
    "huge": ("", "needle " + "hay stack " * (HUGE // 10)),
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The chain to a judged run of a bi-encoder and of BM25, over the unusual passages."""
    import os

    folder, before = tmp_path_factory.mktemp("unusual"), os.getcwd()
    write_data(folder / "data")
    corpus = folder / "data" / "corpus.jsonl"
    usual = corpus.read_text()
    lines = [json.dumps({"_id": 10**17 + 1, "title": "", "text": "an id that is a whole number"})]
    lines += [json.dumps({"_id": key, "title": title, "text": text}, ensure_ascii=False) for key, (title, text) in UNUSUAL.items()]
    # A byte-order mark before the first line and Windows' line ends, as editors leave them.
    corpus.write_bytes(b"\xef\xbb\xbf" + usual.replace("\n", "\r\n").encode() + ("\n".join(lines) + "\n").encode())
    queries = {"h": "החיפוש בעברית", "a": "مرحبا بالعالم", "e": "👍🏽 🇩🇪 flag", "n": "needle", "m": "!!!", "l": "word " * 5000}
    relevant = {"h": "hebrew-שלום", "a": "arabic", "e": "emoji-🙂", "n": "huge", "m": "marks", "l": str(10**17 + 1)}
    with open(folder / "data" / "queries.jsonl", "a", encoding="utf-8") as stream:
        stream.writelines(json.dumps({"_id": key, "text": text}, ensure_ascii=False) + "\n" for key, text in queries.items())
    for split in ("train", "test"):
        with open(folder / "data" / "qrels" / f"{split}.tsv", "a", encoding="utf-8") as stream:
            stream.writelines(f"{query}\t{passage}\t1\n" for query, passage in relevant.items())
    write_configuration(folder, lambda values: values["evaluate"].update(systems=["bm25", "retriever"], splits={"test": {}}))
    os.chdir(folder)
    try:
        for command in (
            ["prepare-corpus"], ["train-tokenizer"], ["index-bm25"], ["search-bm25"], ["search-bm25", "--splits", "train"],
            ["mine-negatives", "--model", "bm25"], ["train", "--model", "base"],
            ["train", "--model", "retriever"], ["encode", "--model", "retriever"], ["build-index", "--model", "retriever"],
            ["search-index", "--model", "retriever"], ["evaluate"], ["compare-systems"],
        ):  # fmt: skip
            assert main([*command, *C]) == 0, command
        yield Place(folder)
    finally:
        os.chdir(before)


def test_texts_come_back_as_they_were(searched):
    store = CorpusStore(searched.paths.corpus)
    titles, texts = store.texts(store.rows(list(UNUSUAL)))
    assert titles == [(title or "").strip() for title, _ in UNUSUAL.values()]
    assert texts == [text.strip() for _, text in UNUSUAL.values()]
    assert store.ids([0, 60]) == ["p0", str(10**17 + 1)], "neither the byte-order mark nor the size of a number changes an id"
    assert len(store.texts(store.rows(["huge"]))[1][0]) > HUGE - 10


def test_words_of_every_script_are_found(searched):
    first = {}
    for line in (searched.paths.run("bm25", "test")).read_text(encoding="utf-8").splitlines():
        query, _, passage, rank, *_ = line.split()
        if rank == "1":
            first[query] = passage
    assert first["h"] == "hebrew-שלום"
    assert first["a"] == "arabic"
    assert first["n"] == "huge"


def test_every_query_has_a_dense_run(searched):
    lines = searched.paths.run("retriever", "test").read_text(encoding="utf-8").splitlines()
    counts = {}
    for line in lines:
        counts[line.split()[0]] = counts.get(line.split()[0], 0) + 1
    assert len(counts) == 16
    assert set(counts.values()) == {20}
