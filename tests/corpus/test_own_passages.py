"""Queries that are passages themselves: their own passage is left out of every result, at full depth, and a sentence says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from simlm.cli import main
from simlm.config.corpora import BeirFolder
from simlm.corpus.prepare import prepare_corpus
from simlm.corpus.store import CorpusStore
from simlm.retrieval.fusion import fuse_runs, fusing
from simlm.runs.found import Found
from simlm.runs.negatives import read_negatives
from simlm.runs.runs import Ranking, read_run, read_trec_run, write_trec_run

TEXTS = [
    "bread rises overnight",
    "rice is stirred slowly",
    "a bridge hangs on cables",
    "bees dance for flowers",
    "granite holds quartz",
    "the moon pulls tides",
]


def arguments(folder: Path, name=lambda i, side: f"topic-{i}{side}", query=lambda text: text) -> Path:
    """Each argument is answered by a counter-argument of the same words and more; both are passages, the argument is a query too."""
    (folder / "qrels").mkdir(parents=True)
    passages = [(name(i, side), text + (" but wrongly so" if side == "b" else "")) for i, text in enumerate(TEXTS) for side in "ab"]
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": one, "text": text}) + "\n" for one, text in passages))
    queries = [(name(i, "a"), query(text)) for i, text in enumerate(TEXTS)]
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": one, "text": text}) + "\n" for one, text in queries))
    for split in ("train", "test"):
        (folder / f"qrels/{split}.tsv").write_text("".join(f"{name(i, 'a')}\t{name(i, 'b')}\t1\n" for i in range(len(TEXTS))))
    return folder


def prepared(folder: Path, **options) -> CorpusStore:
    prepare_corpus(BeirFolder(source="beir", path=str(folder), splits={"train": "train", "test": "test"}, **options), folder.parent / "made")
    return CorpusStore(folder.parent / "made")


def number(i, side):
    return str(2 * i + (side == "b"))


@pytest.mark.parametrize(
    ("make", "options", "left_out"),
    [
        ({}, {}, {"train": True, "test": True}),
        ({}, {"exclude_query": False}, {"train": False, "test": False}),
        ({}, {"exclude_query": {"test": False}}, {"train": True, "test": False}),
        ({"name": number}, {}, {"train": True, "test": True}),
        # As in MS MARCO and Cranfield: queries and passages are both counted, and equal numbers mean nothing.
        ({"name": number, "query": lambda text: "what about " + text[::-1]}, {}, {"train": False, "test": False}),
        ({"name": number, "query": lambda text: "what about " + text[::-1]}, {"exclude_query": True}, {"train": True, "test": True}),
    ],
)
def test_when_it_is_on(tmp_path, make, options, left_out):
    store = prepared(arguments(tmp_path / "data", **make), **options)
    name = make.get("name", lambda i, side: f"topic-{i}{side}")
    for split, on in left_out.items():
        assert store.manifest["splits"][split]["own_passages"]["left_out"] is on
        assert store.own_rows(split) == ({name(i, "a"): 2 * i for i in range(len(TEXTS))} if on else {})


def test_the_option_makes_another_corpus(tmp_path):
    folder = arguments(tmp_path / "data")
    assert prepared(folder).sha256 != prepared(folder, exclude_query=False).sha256


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match=r"exclude_query: there is no split 'tset'; did you mean 'test'\?"):
        BeirFolder(source="beir", path="x", splits={"test": "test"}, exclude_query={"tset": True})


@pytest.mark.parametrize(("option", "rank"), [("auto", 1.0), (False, 0.5)])
def test_bm25_finds_the_answer_first_and_never_mines_the_query(tmp_path, monkeypatch, capsys, option, rank):
    """The whole chain: by hand, the argument's own passage is the best hit and the counter-argument the second."""
    monkeypatch.chdir(tmp_path)
    arguments(tmp_path / "data")
    size = {"layers": 1, "hidden": 16, "heads": 2, "intermediate": 32, "positions": 64}
    block = {"source": "beir", "path": "data", "splits": {"train": "train", "test": "test"}, "exclude_query": option}
    values = {
        "name": "run",
        "corpus": block,
        "bm25": {"analyzers": ["words"]},
        "negatives": {"depth": 5, "sample": 4, "pad_to": 10},
        "models": {"base": {"kind": "mlm", "size": size, "steps": 1}},
        "evaluate": {"systems": ["bm25"], "splits": {"test": {}}, "main_split": "test", "metrics": ["RR@10"], "depth": 2},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    for command in (["prepare-corpus"], ["index-bm25"], ["search-bm25", "--splits", "train", "test"], ["evaluate"], ["mine-negatives", "--model", "bm25"]):
        assert main([*command, "--config", "c.yaml"]) == 0
    output = capsys.readouterr()
    assert f"RR@10 {rank:.4f}" in output.err
    store = CorpusStore("results/run/corpus")
    own = {f"topic-{i}a": 2 * i for i in range(len(TEXTS))}
    negatives = {query.query_id: set(query.negatives.tolist()) for query in read_negatives("results/run/negatives/bm25.parquet")}
    runs = {ranking.query_id: store.rows(ranking.ids) for ranking in read_trec_run("results/run/runs/bm25/test.trec")}
    record = json.loads(Path("results/run/stages/prepare_corpus.json").read_text())
    if option == "auto":
        assert "6 of 6 query ids are ids of passages; a query's own passage is left out of its results" in output.out
        assert record["notes"]["own_passages"]
        assert not any(own[query] in rows for query, rows in [*negatives.items(), *runs.items()])
        # Of twelve passages one is the query, one is relevant.
        assert {len(rows) for rows in negatives.values()} == {10}
    else:
        assert all(own[query] in rows for query, rows in runs.items())
        assert "own_passages" not in record["notes"]


def test_depth_stays_full_and_fusion_leaves_it_out_too(tmp_path):
    store = prepared(arguments(tmp_path / "data"))
    own = store.own_rows("test")
    rankings = [Ranking(f"topic-{i}a", np.arange(12, dtype=np.int32), -np.arange(12.0)) for i in range(6)]
    files = []
    for name in ("one", "two"):
        files.append(tmp_path / f"{name}.trec")
        write_trec_run(files[-1], rankings, store, tag=name)
    fused = Found(fuse_runs([read_run(file, store) for file in files], list(own), fusing("ranks", 60, Found.asked(4, own), None)), 4, own)
    results = list(fused)
    assert [len(ranking.passages) for ranking in results] == [4] * 6
    assert not any(own[ranking.query_id] in ranking.passages for ranking in results)
    assert str(fused) == "6 queries, 4 passages each; the passage that is the query itself left out of 3"


def test_counts_are_those_of_what_was_found():
    rows = [
        Ranking("a", np.array([1, 2, 1, 3]), np.array([4.0, 3.0, 2.0, 1.0])),
        Ranking("b", np.array([], int), np.array([])),
        Ranking("c", *[np.arange(9)] * 2),
    ]
    found = Found(rows, 5)
    assert [ranking.passages.tolist() for ranking in found] == [[1, 2, 3], [], [0, 1, 2, 3, 4]]
    assert str(found) == "3 queries, 2.7 of 5 passages each on average; nothing found for 1; 1 passages listed twice removed"
    few, twice = found.cautions("test", 100, "raise nprobe")
    assert few == "test: 2 of 3 queries have fewer than 5 results, 8 in all; raise nprobe"
    assert "listed 1 passages twice" in twice
    assert list(found.cautions("test", 5, "raise nprobe")) == [twice]
