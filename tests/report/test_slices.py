"""Slices of the queries against pandas, on a corpus whose groups, words and judgements are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from simlm.corpus.store import CorpusStore, write_corpus
from simlm.report.slices import GROUP, LENGTH, RELEVANT, SHARE, query_facts, slice_rows, slices

RANDOM = np.random.default_rng(5)
WORDS = ["swap", "two", "columns", "invert", "matrix", "row", "sort", "list", "find", "join"]
GROUPS = ["numpy"] * 30 + ["scipy"] * 20 + ["torch"] * 10


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """60 passages in three groups and 60 queries of 1 to 9 words, a third of them with two relevant passages."""
    folder = tmp_path_factory.mktemp("sliced") / "corpus"
    passages = [(f"{group}.p{row}", WORDS[row % 10], " ".join(RANDOM.choice(WORDS, 4))) for row, group in enumerate(GROUPS)]
    queries = [(f"q{i}", " ".join(RANDOM.choice(WORDS, 1 + i % 9)).capitalize() + "?") for i in range(60)]
    grades = [(f"q{i}", passages[i][0], 2) for i in range(60)] + [(f"q{i}", passages[(i + 1) % 60][0], 1 + i % 2) for i in range(0, 60, 3)]
    write_corpus(folder, passages, {"test": (queries, grades)}, {"source": "test"})
    return CorpusStore(folder), passages, queries, grades


def frame(passages, queries, grades, least):
    """The same facts, computed with pandas."""
    texts = {name: set(f"{title} {text}".lower().split()) for name, title, text in passages}
    table = pd.DataFrame(grades, columns=["query", "passage", "grade"]).query("grade >= @least")
    asked = {name: text.lower().rstrip("?").split() for name, text in queries}
    table["share"] = [len(set(asked[query]) & texts[passage]) / len(set(asked[query])) for query, passage in zip(table["query"], table["passage"])]
    first = table.sort_values(["grade", "passage"], ascending=[False, True]).groupby("query").first()
    facts = table.groupby("query").agg(share=("share", "max"), relevant=("passage", "size")).reindex([name for name, _ in queries])
    facts["words"] = [len(asked[name]) for name, _ in queries]
    facts["group"] = first["passage"].str.partition(".")[0].reindex(facts.index)
    return facts


@pytest.mark.parametrize("least", [1, 2])
def test_facts_and_averages_are_those_of_pandas(judged, least):
    store, passages, queries, grades = judged
    ids = [name for name, _ in queries]
    facts, expected = query_facts(store, "test", ids, least), frame(passages, queries, grades, least)
    assert facts.words.tolist() == expected["words"].tolist()
    assert facts.share == pytest.approx(expected["share"].to_numpy())
    assert facts.relevant.tolist() == expected["relevant"].tolist()
    assert facts.group == expected["group"].tolist()
    values = {"bm25": RANDOM.random(60), "dense": RANDOM.random(60)}
    rows = slice_rows(slices(facts), values, seed=1, resamples=300, confidence=0.95)
    expected["dense"] = values["dense"]
    quarter = pd.cut(expected["share"], [-1, 0.25, 0.5, 0.75, 1.0], labels=["≤ 25 %", "25–50 %", "50–75 %", "> 75 %"])
    for dimension, by in ((GROUP, expected["group"]), (SHARE, quarter), (RELEVANT, expected["relevant"].astype(str))):
        means = expected.groupby(by, observed=True)["dense"].agg(["mean", "size"])
        found = {row.slice: (row.value, row.queries) for row in rows if row.dimension == dimension and row.system == "dense"}
        assert found == {label: (pytest.approx(mean), size) for label, (mean, size) in means.iterrows()}
    for dimension in dict.fromkeys(row.dimension for row in rows):
        here = [row for row in rows if row.dimension == dimension and row.system == "dense"]
        assert sum(row.queries for row in here) == 60, f"every query is in one slice of {dimension}"
        assert sum(row.value * row.queries for row in here) / 60 == pytest.approx(values["dense"].mean())
        assert all(row.low <= row.value <= row.high for row in here)


def test_lengths_are_cut_so_that_equal_ones_stay_together(judged):
    store, _, queries, _ = judged
    facts = query_facts(store, "test", [name for name, _ in queries])
    found = [one for one in slices(facts) if one.dimension == LENGTH]
    assert [one.label for one in found] == ["≤ 3", "4–5", "6–7", "≥ 8"]
    for one, (low, high) in zip(found, ((1, 3), (4, 5), (6, 7), (8, 9))):
        assert facts.words[one.rows].min() == low
        assert facts.words[one.rows].max() == high


def test_what_all_queries_have_in_common_is_no_slice(judged):
    store, _, queries, _ = judged
    facts = query_facts(store, "test", [name for name, _ in queries][1:3])
    assert RELEVANT not in {one.dimension for one in slices(facts)}
    assert GROUP not in {one.dimension for one in slices(facts)}
