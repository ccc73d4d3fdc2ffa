"""A joint training in the workflow: from one job to two systems that are searched, re-ranked, mined, judged and described."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SYSTEMS = ["bm25", "retriever1", "reranker", "joint.retriever", "joint.reranker", "later"]
OVERLAY = {
    "name": "joint",
    "models": {
        "retriever1": {"init": "base"},
        "joint": {
            **{"kind": "joint", "init": "retriever1", "reranker_init": "reranker", "negatives": "bm25", "teacher": "reranker", "lists": "both"},
            # A re-ranker of eight steps is sure of nothing: any difference counts.
            **{"denoise": {"positive": 0.50001, "negative": 0.49999}, "hard_negatives": 3, "temperature": 0.05, "lexical_hints": True},
            **{"steps": 6, "batch_size": 8, "learning_rate": 1e-3, "threads": 1, "log_steps": 2, "holdout": 20},
            **{"query_length": 24, "passage_length": 48, "max_length": 64, "rerank": "joint.retriever", "rerank_depth": 10},
        },
        # A part gives weights and negatives, the other one teaches.
        "later": {
            **{"kind": "biencoder", "init": "joint.retriever", "negatives": "joint.retriever", "teacher": "joint.reranker", "steps": 4, "batch_size": 16},
            **{"hard_negatives": 2, "learning_rate": 1e-3, "query_length": 24, "passage_length": 48, "holdout": 20, "threads": 1},
        },
    },
    "evaluate": {"systems": SYSTEMS},
}


@pytest.fixture(scope="module")
def results(one_process, tmp_path_factory):
    folder = tmp_path_factory.mktemp("joint")
    (folder / "joint.yaml").write_text(yaml.safe_dump(OVERLAY))
    done = one_process(folder, configs=[ROOT / "config/smoke.yaml", folder / "joint.yaml"])
    assert done.code == 0, done.text[-5000:]
    assert done.jobs.count("Training joint") == 1
    return folder / "results" / "joint"


def test_both_parts_are_judged_and_used(results):
    rows = [line.split("\t") for line in (results / "metrics.tsv").read_text().splitlines()[1:]]
    assert list(dict.fromkeys(row[0] for row in rows)) == SYSTEMS
    runs = {system: (results / "runs" / system / "test.trec").read_text().splitlines() for system in ("joint.retriever", "joint.reranker")}
    first = {system: {line.split()[0]: line.split()[2] for line in reversed(lines)} for system, lines in runs.items()}
    assert first["joint.retriever"].keys() == first["joint.reranker"].keys()
    assert first["joint.retriever"] != first["joint.reranker"]
    # What is re-ranked are the first ten of the other part, sorted anew.
    query = next(iter(first["joint.retriever"]))
    tops = [{line.split()[2] for line in lines if line.split()[0] == query and int(line.split()[3]) <= 10} for lines in runs.values()]
    assert tops[0] == tops[1]
    assert json.loads((results / "stages/train.later.json").read_text())["inputs"]["init"]["path"].endswith("models/joint.retriever/simlm.json")


def test_the_record_says_what_was_denoised(results):
    record = json.loads((results / "stages/train.joint.json").read_text())
    denoised = record["notes"]["denoised"]
    assert 0 < denoised["kept"] < denoised["listed"]
    scored = json.loads((results / "stages/score_teacher.joint.json").read_text())["metrics"]
    assert scored["pairs"] == scored["listed_pairs"] > denoised["listed"]


def test_cards_and_report_describe_both_parts(results):
    page = (results / "report.html").read_text()
    for words in ("joint training", "joint retriever", "joint re-ranker", "trained on together with a re-ranker, over lists from bm25"):
        assert words in page
    cards = {part: (results / f"models/joint.{part}/README.md").read_text() for part in ("retriever", "reranker")}
    assert "library_name: sentence-transformers" in cards["retriever"]
    assert "pipeline_tag: text-ranking" in cards["reranker"]
    for part, card in cards.items():
        assert f"# joint.{part} (joint)" in card
        assert "RocketQAv2, arXiv 2110.07367" in card
        assert "## Results" in card
