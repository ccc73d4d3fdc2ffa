"""The commands from corpus to comparison, on a real small corpus: BM25, negatives, fusion, evaluation."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from simlm.cli import main
from simlm.config import validate
from simlm.config.inputs import planned
from simlm.config.stages import canonical
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.paths import Paths
from simlm.runs.negatives import negatives_metadata, read_negatives
from simlm.runs.runs import read_train_run, read_trec_run

CONFIG = {
    "name": "tiny",
    "seed": 3,
    "corpus": {"source": "beir", "path": "unused", "splits": {"train": "train", "dev": "dev", "test": "test"}},
    "bm25": {"analyzers": ["words", "split_names_stemmed"]},
    "negatives": {"depth": 5, "sample": 4, "pad_to": 7},
    "models": {
        "encoder": {"kind": "biencoder", "init": "google-bert/bert-base-uncased", "steps": 1, "negatives": "bm25", "hard_negatives": 3},
        "fusion": {"kind": "fusion", "of": ["encoder", "bm25"]},
    },
    "evaluate": {
        "systems": ["bm25", "encoder", "fusion"],
        "splits": {"dev": {}, "test": {}},
        "main_split": "test",
        "depth": 30,
        "resamples": 200,
        "metrics": ["RR@10", "R@20", "nDCG@10", "AP"],
    },
}


LEXICAL = (["index-bm25"], ["search-bm25"], ["search-bm25", "--splits", "train"], ["mine-negatives", "--model", "bm25"])


@pytest.fixture
def experiment(tmp_path):
    """A configuration file and a corpus whose names only `split_names` can find; returns what calls a command."""
    random = np.random.default_rng(0)
    words = [f"thing{chr(97 + i)}" for i in range(26)]
    filler = ["some", "other", "words", "that", "no", "query", "has"]
    passages = [(f"p{i}", f"mod.{words[i % 26]}_{words[i // 26 % 26]}", " ".join(random.choice(filler, 12))) for i in range(200)]

    def split(start: int, stop: int):
        return (
            [(f"q{i}", passages[i][1].replace("mod.", "").replace("_", " ")) for i in range(start, stop)],
            [(f"q{i}", f"p{i}", 1) for i in range(start, stop)],
        )

    splits = {"train": split(0, 100), "dev": split(100, 150), "test": split(150, 200)}
    write_corpus(tmp_path / "results" / "tiny" / "corpus", passages, splits, {"source": "mine"})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))

    def call(command: str, *arguments: str) -> int:
        return main([command, "--config", str(tmp_path / "config.yaml"), "--results", str(tmp_path / "results"), *arguments])

    call.root = tmp_path / "results" / "tiny"
    return call


def test_whole_chain(experiment, capsys):
    root = experiment.root
    for command in LEXICAL:
        assert experiment(*command) == 0, capsys.readouterr().err
    manifest = json.loads((root / "bm25" / "manifest.json").read_text())
    assert manifest["analyzer"] == "split_names_stemmed"
    assert manifest["tried"]["split_names_stemmed"]["RR@10"] > manifest["tried"]["words"]["RR@10"]
    assert manifest["selection"] == {"split": "dev", "metric": "RR@10"}

    train = list(read_train_run(root / "runs" / "bm25" / "train.parquet"))
    assert [ranking.query_id for ranking in train] == [f"q{i}" for i in range(100)]
    assert max(len(ranking.passages) for ranking in train) == 5
    store = CorpusStore(root / "corpus")
    for query in read_negatives(root / "negatives" / "bm25.parquet"):
        assert store.ids(query.positives) == ["p" + query.query_id[1:]]
        assert not set(query.positives.tolist()) & set(query.negatives.tolist())
        assert len(query.negatives) == 7
    assert negatives_metadata(root / "negatives" / "bm25.parquet")["corpus_sha256"] == store.sha256

    # Another system: the same run upside down.
    (root / "runs" / "encoder").mkdir()
    for split in ("dev", "test"):
        lines = [
            f"{r.query_id} Q0 {one} {i} {-i} up\n" for r in read_trec_run(root / "runs" / "bm25" / f"{split}.trec") for i, one in enumerate(r.ids[::-1], 1)
        ]
        (root / "runs" / "encoder" / f"{split}.trec").write_text("".join(lines))
    for command in (["fuse", "--model", "fusion"], ["evaluate"], ["compare-systems"]):
        assert experiment(*command) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "RR@10 on test" in printed
    metrics = json.loads((root / "evaluation" / "bm25" / "test.json").read_text())
    assert metrics["n_queries"] == 50
    assert metrics["metrics"]["RR@10"] > 0.5 > json.loads((root / "evaluation" / "encoder" / "test.json").read_text())["metrics"]["RR@10"]
    stages = {file.stem for file in (root / "stages").glob("*.json")}
    assert stages == {"index_bm25", "search_bm25", "search_bm25.train", "mine_negatives.bm25", "fuse.fusion", "evaluate", "compare_systems"}

    first = {
        name: (root / name).read_bytes()
        for name in ("metrics.tsv", "evaluation/comparisons.tsv", "negatives/bm25.parquet", "runs/bm25/test.trec", "runs/fusion/test.trec")
    }
    for command in (*LEXICAL, ["fuse", "--model", "fusion"], ["evaluate"], ["compare-systems"]):
        assert experiment(*command) == 0
    assert {name: (root / name).read_bytes() for name in first} == first


def test_records_state_what_the_rules_rerun_on(experiment):
    for command in LEXICAL:
        assert experiment(*command) == 0
    paths, checked = Paths(experiment.root), []
    for job in planned(validate(CONFIG), paths):
        file = paths.record(job.job.label)
        if file.exists():
            record = json.loads(file.read_text())
            assert (record["settings"], record["code"]) == (json.loads(canonical(job.settings)), job.code)
            assert {name: entry["path"] for name, entry in record["inputs"].items()} == {name: str(path) for name, path in job.inputs.items()}
            checked.append(job.job.label)
    assert checked == ["index_bm25", "search_bm25.train", "search_bm25", "mine_negatives.bm25"]


def test_one_analyzer_is_taken_as_it_is(experiment, tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG | {"bm25": {"analyzers": ["stemmed"]}}))
    assert experiment("index-bm25") == 0
    manifest = json.loads((experiment.root / "bm25" / "manifest.json").read_text())
    assert (manifest["analyzer"], manifest["tried"], manifest["selection"]) == ("stemmed", {}, None)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["search-bm25"], "run simlm index-bm25 first"),
        (["search-bm25", "--splits", "tset"], "has no split 'tset'; did you mean 'test'?"),
        (["mine-negatives", "--model", "bm25"], "train.parquet does not exist; run simlm search-bm25 --splits train first"),
        (["mine-negatives", "--model", "encodre"], "no model of 'tiny' is called 'encodre'; did you mean 'encoder'?"),
        (["mine-negatives", "--model", "fusion"], "train.parquet does not exist; run simlm fuse --model fusion --splits train first"),
        (["fuse", "--model", "encoder"], "'encoder' is of kind biencoder, which fuse does not take; it takes fusion"),
        (["fuse", "--model", "fusion"], "dev.trec does not exist; run simlm search-index --model encoder first"),
        (["evaluate"], "dev.trec does not exist; run simlm search-bm25 first"),
        (["compare-systems"], "run simlm evaluate first"),
        (["evaluate", "--run", "x.trec"], "with both --run FILE and --qrels FILE"),
    ],
)
def test_mistakes_are_one_sentence(experiment, capsys, command, sentence):
    assert experiment(*command) == 2
    error = capsys.readouterr().err.strip()
    assert sentence in error
    assert "\n" not in error


def test_a_corpus_that_its_own_record_does_not_know_is_refused(experiment, capsys):
    assert experiment("index-bm25") == experiment("search-bm25", "--splits", "train") == 0
    write_corpus(experiment.root / "corpus", [("p0", "", "other")], {"train": ([("q0", "x")], [("q0", "p0", 1)])}, {"source": "mine"})
    capsys.readouterr()
    for command in (["mine-negatives", "--model", "bm25"], ["search-bm25", "--splits", "train"]):
        assert experiment(*command) == 2
        assert "index_bm25 (inputs: corpus)" in capsys.readouterr().err


def test_by_hand(tmp_path, capsys):
    (tmp_path / "run.trec").write_text("1 Q0 a 1 2.0 t\n1 Q0 b 2 1.0 t\n")
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\tb\t2\n1\ta\t1\n2\ta\t2\n")
    files = ["--run", str(tmp_path / "run.trec"), "--qrels", str(tmp_path / "qrels.tsv")]
    assert main(["evaluate", *files, "--metrics", "RR@10", "--relevance", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == ["RR(rel=2)@10\t0.2500", "queries\t2", "of which the run lacks\t1"]
    assert main(["evaluate", *files, "--metrics", "RR@10", "--relevance", "2", "--mrr-relevance", "1", "--per-query"]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == ["1\tRR@10\t1.0000", "2\tRR@10\t0.0000", "RR@10\t0.5000"]
