"""Analyzers: what becomes a term."""

from __future__ import annotations

import pytest

from simlm.lexical import analyzers
from simlm.lexical.analyzers import ANALYZERS, Analyzer, name_parts


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("read_csv", ["read", "csv"]),
        ("DataFrame", ["Data", "Frame"]),
        ("HTMLParser", ["HTML", "Parser"]),
        ("getHTTPResponse2", ["get", "HTTP", "Response2"]),
        ("conv2d", ["conv2d"]),
        ("Conv2D", ["Conv2", "D"]),
        ("__call__", ["call"]),
        ("__", ["__"]),
        ("über_größe", ["über", "größe"]),
        ("plain", ["plain"]),
    ],
)
def test_names_are_cut_at_underscores_and_case_changes(name, parts):
    assert name_parts(name) == parts


def test_split_names_keeps_the_whole_name_and_other_words_once():
    assert Analyzer("split_names")("The sparse.csr_matrix") == ["the", "sparse", "csr", "matrix", "csr_matrix"]


def test_stemmed_drops_lucenes_stop_words_and_stems():
    assert Analyzer("stemmed")("It was the running of the rows, not their columns") == ["run", "row", "column"]


def test_both():
    assert Analyzer("split_names_stemmed")("swappedColumns of the") == ["swap", "column", "swappedcolumn"]


@pytest.mark.parametrize("name", ANALYZERS)
def test_odd_texts(name):
    analyse = Analyzer(name)
    assert analyse("") == analyse(" \n\t!?") == []
    assert analyse("日本語 naïve") == analyse("日本語 naïve")
    assert len(analyse("日本語 naïve")) == 3, "two pairs and a word"


@pytest.mark.parametrize("name", ANALYZERS)
def test_forgetting_known_words_changes_nothing(name, monkeypatch):
    text = "Reads a CSV file with read_csv and a DataFrame of the file"
    expected = Analyzer(name)(text)
    monkeypatch.setattr(analyzers, "KNOWN_WORDS", 1)
    analyse = Analyzer(name)
    assert [analyse(text) for _ in range(3)] == [expected] * 3
