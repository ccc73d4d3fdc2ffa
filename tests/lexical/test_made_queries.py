"""Queries that are made of passages: which are kept, which never, and that nothing that is judged changes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from simlm.cli import main
from simlm.config import validate
from simlm.config.corpora import MadeQueries
from simlm.config.jobs import jobs
from simlm.config.makers import makers
from simlm.corpus.choice import part_of
from simlm.corpus.store import CorpusStore
from simlm.errors import UserError
from simlm.lexical.made_queries import MadeQuery, chosen_rows, found_again, into_splits, own_queries, usable
from simlm.paths import Paths

TEXT = "They are made of flour and water. The dough rests for an hour, and is baked on a stone."
PASSAGES = [
    *({"_id": f"d{i}", "title": f"Loaf number {i}", "text": f"Word{i} comes first. {TEXT}"} for i in range(20)),
    {"_id": "same1", "title": "The same title", "text": TEXT}, {"_id": "same2", "title": "the same  Title", "text": TEXT},
    {"_id": "asked", "title": "What is a baguette", "text": TEXT}, {"_id": "untitled", "title": "", "text": TEXT},
    {"_id": "short", "title": "Loaf", "text": TEXT}, {"_id": "bare", "title": "A title and nothing else", "text": "a title and nothing else"},
]  # fmt: skip


@pytest.fixture
def values(tmp_path, monkeypatch):
    """A folder without training queries where the commands run, and a configuration for it."""
    monkeypatch.chdir(tmp_path)
    Path("data/qrels").mkdir(parents=True)
    Path("data/corpus.jsonl").write_text("".join(json.dumps(passage) + "\n" for passage in PASSAGES))
    Path("data/queries.jsonl").write_text(json.dumps({"_id": "q1", "text": "what is a Baguette"}) + "\n")
    Path("data/qrels/test.tsv").write_text("q1\tasked\t1\n")
    made = {"query": "title", "parts": {"train": 0.8, "made_dev": 0.2}, "words": [3, 10]}
    corpus = {"source": "beir", "path": "data", "splits": {"test": "test"}, "made_queries": made}
    return {"name": "mine", "corpus": corpus, "models": {}, "evaluate": {"systems": ["bm25"], "splits": {"test": {}}, "main_split": "test"}}


def run(values, *commands: str) -> int:
    Path("mine.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return next((code for command in commands if (code := main([command, "--config", "mine.yaml"]))), 0)


def test_judged_splits_stay_and_the_rest_of_the_chain_reads_the_made_ones(values, capsys):
    assert run(values, "prepare-corpus", "make-queries", "index-bm25", "search-bm25") == 0
    before, store = (CorpusStore(f"results/mine/{name}") for name in ("corpus_without_made_queries", "corpus"))
    for file in ("queries/test.tsv", "qrels/test.qrels", "passages/data-00000-of-00001.arrow"):
        assert (before.folder / file).read_bytes() == (store.folder / file).read_bytes()
    assert (before.splits, store.splits) == (["test"], ["made_dev", "test", "train"])
    assert before.sha256 != store.sha256
    made = store.queries("train") | store.queries("made_dev")
    assert made == {f"made:d{i}": f"Loaf number {i}" for i in range(20)}
    for split in ("train", "made_dev"):
        assert store.qrels(split) == {query: {query.removeprefix("made:"): 1} for query in store.queries(split)}
        assert {part_of(query.removeprefix("made:"), {"train": 0.8, "made_dev": 0.2}) for query in store.queries(split)} == {split}
    record = json.loads(Path("results/mine/stages/make_queries.json").read_text())
    assert (record["metrics"]["passages"], record["metrics"]["made"], record["metrics"]["kept"]) == (26, 24, 20)
    dropped = {"without_title": 1, "too_short_or_long": 1, "query_of_a_judged_split": 1, "of_several_passages_or_twice": 2, "nothing_beside_the_query": 1}
    assert record["notes"]["dropped"] == dropped | {"not_found_again": 0}
    assert "24 queries made of 26 passages, 20 kept" in capsys.readouterr().err
    assert store.manifest["made_queries"]["dropped"] == record["notes"]["dropped"]


def test_the_check_says_that_no_title_is_fit(values, capsys):
    assert run(values, "check") == 0
    assert "caution" not in capsys.readouterr().out
    values["corpus"]["made_queries"]["words"] = [5, 10]
    assert run(values, "check") == 0
    said = capsys.readouterr().out
    assert "caution: corpus.made_queries: of the first 26 passages none has a title of 5 to 10 words beside its text" in said
    assert said.rstrip().endswith("take query: first_sentence")


def test_the_round_trip_keeps_what_finds_its_passage(values):
    """`apple pear` stands in p0 once, beside much else, and in p1 alone: p1 is first, p0 second for any k1 and b > 0."""
    Path("data/corpus.jsonl").write_text(
        json.dumps({"_id": "p0", "text": "Apple pear. And much besides that makes the passage long and the words rare."}) + "\n"
        + json.dumps({"_id": "p1", "text": "pear apple"}) + "\n" + json.dumps({"_id": "asked", "text": "others"}) + "\n"
    )  # fmt: skip
    del values["corpus"]["made_queries"]
    assert run(values, "prepare-corpus") == 0
    store, query = CorpusStore("results/mine/corpus"), MadeQuery("Apple pear.", 0, "p0")
    kept = {within: found_again(store, [query], within, "words", 0.82, 0.68, True) for within in (1, 2)}
    assert kept == {1: [], 2: [query]}


def test_first_sentences_and_a_choice_of_passages(values):
    del values["corpus"]["made_queries"]
    assert run(values, "prepare-corpus") == 0
    store, settings, dropped = CorpusStore("results/mine/corpus"), MadeQueries(query="first_sentence"), Counter()
    found = {query.id: query.text for query in own_queries(store, chosen_rows(store, None), settings, dropped)}
    assert found["made:d3"] == "Word3 comes first."
    assert found["made:untitled"] == "They are made of flour and water."
    assert dropped == {"without_first_sentence": 1}
    few = chosen_rows(store, 10)
    assert len(few) == 10
    assert set(few.tolist()) < set(chosen_rows(store, 15).tolist())  # a larger choice has all of a smaller one
    assert np.all(np.diff(few) > 0)


def test_two_queries_of_one_passage_go_into_one_split_and_the_same_twice_is_one():
    made = [MadeQuery("a b c", 0, "d0"), MadeQuery("d e f", 0, "d0", 1), MadeQuery("A  b c", 0, "d0", 2), MadeQuery("x y z", 1, "d1")]
    dropped = Counter()
    kept = usable(made, MadeQueries(), set(), dropped)
    assert ([query.id for query in kept], dropped) == (["made:d0", "made:d0:1", "made:d1"], {"of_several_passages_or_twice": 1})
    splits = {split.name: split.qrels for split in into_splits(kept, {"train": 0.5, "made_dev": 0.5})}
    assert sum("made:d0" in qrels and "made:d0:1" in qrels for qrels in splits.values()) == 1


def test_where_the_stage_stands_in_the_graph(values):
    with_queries = validate(values)
    assert [job.stage for job in jobs(with_queries)][:3] == ["prepare_corpus", "make_queries", "index_bm25"]
    paths = Paths(Path("results/mine"))
    assert makers(with_queries, paths)[paths.corpus / "manifest.json"].stage == "make_queries"
    del values["corpus"]["made_queries"]
    assert "make_queries" not in [job.stage for job in jobs(validate(values))]
    assert makers(validate(values), paths)[paths.corpus / "manifest.json"].stage == "prepare_corpus"


def test_mistakes(values, capsys):
    values["corpus"]["made_queries"]["parts"] = {"test": 1.0}
    with pytest.raises(UserError, match=r"made_queries\.parts: 'test' is also a split of the source"):
        validate(values)
    values["corpus"]["made_queries"] |= {"parts": {"train": 1.0}, "words": [9, 3]}
    with pytest.raises(UserError, match=r"the fewest \(9\)"):
        validate(values)
    values["corpus"]["made_queries"] |= {"words": [30, 40]}
    assert run(values, "prepare-corpus", "make-queries") == 2
    assert "of 26 passages 0 queries are kept (" in capsys.readouterr().err
    assert not Path("results/mine/corpus").exists()
    del values["corpus"]["made_queries"]
    assert run(values, "make-queries") == 2
