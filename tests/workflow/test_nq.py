"""Natural Questions from download to gate: the shipped configuration with only sizes overridden, on small data in the true layout."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml
from hub_server import Hub
from nq_home import PASSAGES, TEST, TRAIN, collection
from published_models import write_all

from simlm.corpus.store import CorpusStore
from simlm.runs.answers import framed
from simlm.runs.negatives import read_negatives
from tests.workflow.test_msmarco import SHORT, environment, overlay, table, verdicts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ijson") is None, reason="ir_datasets reads DPR's JSON with ijson"),
]

ROOT = Path(__file__).resolve().parents[2]
SYSTEMS = ["bm25", "retriever1", "retriever2", "reranker", "distilled"]


def smaller() -> dict:
    """Sizes alone: counts, lengths of training, depths, shards."""
    retriever = {**SHORT, "epochs": None, "hard_negatives": 2}
    models = dict.fromkeys(("control", "retriever1", "retriever2", "distilled"), retriever)
    models["simlm"] = {**SHORT, "batch_size": 8, "probe": {"every_steps": 3, "queries": 5, "passages": 30}}
    models["reranker"] = {**SHORT, "hard_negatives": 3, "rerank_depth": 10}
    return {
        "precision": "fp32",
        "corpus": {"expected": {"passages": PASSAGES, "queries": {"train": TRAIN, "test": TEST}}},
        "negatives": {"depth": 20, "sample": 8, "pad_to": 10},
        "models": models,
        "encoding": {"shards": 1, "threads": 1, "gpus": 0, "batch_size": 16},
        "evaluate": {"depth": 40, "metrics": ["Answer@5", "Answer@20"], "resamples": 100},
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Where everything outside of the repository lies, and the collection."""
    folder = tmp_path_factory.mktemp("world")
    made = collection()
    texts = [*(f"{title} {text}" for title, text in made.passages), *(question for question, _ in made.test)]
    write_all(folder / "hub", re.findall(r"\w+", " ".join([*texts, *(record["question"] for record in made.questions["train"])])))
    home = made.write(folder / "ir_datasets")
    with Hub(folder / "hub").serve() as address:
        yield made, environment(home, folder / "huggingface", address)


@pytest.fixture(scope="module")
def results(one_process, world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("nq")
    small = overlay(folder / "small.yaml", smaller())
    done = one_process(folder, configs=[ROOT / "config/nq.yaml", small], environment=world[1])
    assert done.code == 0, done.text[-6000:]
    return folder


def test_every_system_is_judged_by_answers(results, world):
    made, _ = world
    figures = table(results, "nq")
    assert {key[:2] for key in figures} == {(system, "test") for system in SYSTEMS}
    # By hand, from the run and the texts: a question counts if any of the first passages holds an answer.
    texts = [text for _, text in made.passages]
    for system in ("bm25", "distilled"):
        tops: dict[str, list[int]] = {}
        for line in (results / f"results/nq/runs/{system}/test.trec").read_text().splitlines():
            query, _, passage, *_ = line.split()
            tops.setdefault(query, []).append(int(passage) - 1)
        for depth in (5, 20):
            hits = [
                any(any(framed(answer) in framed(texts[row]) for answer in own) for row in tops.get(f"test-{i}", [])[:depth])
                for i, (_, own) in enumerate(made.test)
            ]
            assert figures[system, "test", f"Answer@{depth}"] == pytest.approx(sum(hits) / TEST, abs=1e-6)
    assert figures["bm25", "test", "Answer@20"] > 0


def test_no_negative_contains_an_answer_and_who_does_is_a_positive(results):
    store = CorpusStore(results / "results/nq/corpus")
    answers, labelled, extra = store.answers("train"), store.positives("train"), 0
    for source in ("bm25", "retriever1", "retriever2"):
        for query, positives, negatives in read_negatives(results / f"results/nq/negatives/{source}.parquet"):
            contained = [any(framed(answer) in framed(text) for answer in answers[query]) for text in store.texts(negatives)[1]]
            assert not any(contained)
            assert set(labelled[query]) <= set(positives.tolist())
            extra += len(positives) - len(labelled[query])
    record = json.loads((results / "results/nq/stages/mine_negatives.bm25.json").read_text())
    assert record["metrics"]["with_answer"] >= 0
    assert record["settings"]["answers"] == "positives"


def test_the_gate_says_why_nothing_can_be_compared(results):
    lines = verdicts(results, "nq").values()
    assert {line.system for line in lines} == {"bm25", "retriever2", "distilled"}
    assert {line.verdict for line in lines} == {"not comparable"}
    assert {line.reason for line in lines} == {f"the corpus has {PASSAGES} passages, the published one 21,015,324"}
    page = (results / "results/nq/report.html").read_text()
    assert "Answer@20" in page
    assert "SimLM distilled" in page


def test_figures_in_print_open_the_gate(one_process, results, world):
    content = yaml.safe_load((ROOT / "config/published-nq.yaml").read_text())
    content["collection"]["passages"], content["splits"]["test"]["queries"] = PASSAGES, TEST
    ours = table(results, "nq")
    for entry in content["systems"]:
        entry["metrics"]["test"] = {"Answer@20": ours.get((entry.get("counterpart"), "test", "Answer@20"), 0.5)}
    published = overlay(results / "published.yaml", content)
    gate = overlay(results / "gate.yaml", {"gate": {"published": str(published), "enforce": True}})
    files = [ROOT / "config/nq.yaml", results / "small.yaml", gate]
    done = one_process(results, configs=files, environment=world[1])
    assert done.code == 0, done.text[-4000:]
    assert {line.verdict for line in verdicts(results, "nq").values()} == {"OK"}
