"""Late interaction in the workflow: trained, mined, distilled, indexed in both ways, re-ranking for others, judged, asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from simlm.config.embedding import Index
from simlm.corpus.store import CorpusStore
from simlm.indexes.base import Place
from simlm.indexes.late_interaction import maxsim
from simlm.indexes.residual import ResidualIndex
from simlm.runs.runs import read_run
from simlm.vectors.shards import Shards
from simlm.vectors.vectors import Vectors

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SYSTEMS = ["bm25", "colbert1", "colbert2", "sorted"]
SHORT = {"learning_rate": 1e-3, "query_length": 16, "passage_length": 40, "holdout": 20, "threads": 1, "log_steps": 2}
LATE = {"kind": "late_interaction", "hard_negatives": 3, "dimension": 16, "title": "joined", "steps": 6, "batch_size": 8, "temperature": 0.5, **SHORT}
OVERLAY = {
    "name": "late",
    "models": {
        "colbert1": {**LATE, "init": "base", "negatives": "bm25"},
        "colbert2": {
            **{**LATE, "init": "colbert1", "negatives": "colbert1", "teacher": "judge"},
            "index": {"residual": {"bits": 2, "centroids": 64, "cells": 4, "candidates": 400}},
        },
        "judge": {
            **{"kind": "crossencoder", "init": "base", "negatives": "bm25", "hard_negatives": 3, "forward_factor": 1, "rdrop_weight": 0.0, "max_length": 48},
            **{"steps": 4, "batch_size": 8, "learning_rate": 1e-3, "holdout": 20, "threads": 1},
        },
        "sorted": {"kind": "reranking", "scored_by": "colbert2", "rerank": "bm25", "rerank_depth": 10, "threads": 1},
    },
    "evaluate": {"systems": SYSTEMS, "splits": {"test": {}}, "depth": 50},
}


@pytest.fixture(scope="module")
def results(one_process, tmp_path_factory):
    folder = tmp_path_factory.mktemp("late")
    (folder / "late.yaml").write_text(yaml.safe_dump(OVERLAY))
    done = one_process(folder, configs=[ROOT / "config/smoke.yaml", folder / "late.yaml"])
    assert done.code == 0, done.text[-5000:]
    return folder / "results" / "late"


def vectors(results: Path, name: str) -> tuple[CorpusStore, list[str], Vectors, Vectors]:
    """Corpus, query ids, and all vectors of queries and passages, as the workflow left them."""
    store, folder = CorpusStore(results / "corpus"), results / "embeddings" / name
    queries = Vectors(np.load(folder / "queries.test.npy"), np.load(folder / "queries.test.offsets.npy"))
    return store, list(store.queries("test")), queries, Vectors.join([block for _, block in Shards(folder, 1).blocks()])


def test_all_are_judged(results):
    rows = [line.split("\t") for line in (results / "metrics.tsv").read_text().splitlines()[1:]]
    assert list(dict.fromkeys(row[0] for row in rows)) == SYSTEMS
    for stage in ("score_teacher.colbert2", "mine_negatives.colbert1", "rerank.sorted", "encode.colbert2.1-of-1"):
        assert (results / f"stages/{stage}.json").exists()
    assert json.loads((results / "stages/rerank.sorted.json").read_text())["inputs"]["model"]["path"].endswith("models/colbert2/simlm.json")


def test_the_exact_run_is_maxsim_of_all_vectors(results):
    store, ids, queries, passages = vectors(results, "colbert1")
    scores = maxsim(queries, passages)
    for ranking in read_run(results / "runs/colbert1/test.trec", store):
        own = scores[ids.index(ranking.query_id)]
        np.testing.assert_allclose(ranking.scores, -np.sort(-own)[:50], atol=1e-4)
        np.testing.assert_allclose(own[ranking.passages], ranking.scores, atol=1e-4)


def test_the_compressed_run_is_maxsim_of_what_was_kept(results):
    store, ids, queries, passages = vectors(results, "colbert2")
    manifest = json.loads((results / "embeddings/colbert2/1-of-1.json").read_text())
    place = Place(results / "index/colbert2", results / "embeddings/colbert2", 1, manifest["model_sha256"], store.sha256)
    index = ResidualIndex.open(place, Index(residual=OVERLAY["models"]["colbert2"]["index"]["residual"]), verify=True)
    kept = index.vectors(np.arange(len(store)))
    assert (kept.values * passages.values).sum(1).mean() > 0.9
    scores = maxsim(queries, kept)
    for ranking in read_run(results / "runs/colbert2/test.trec", store):
        assert len(ranking.passages) == 50
        np.testing.assert_allclose(scores[ids.index(ranking.query_id)][ranking.passages], ranking.scores, atol=1e-4)
    about = json.loads((results / "index/colbert2/manifest.json").read_text())
    assert (about["bits"], about["vectors"], about["centroids"]) == (2, len(passages.values), 64)
    record = json.loads((results / "stages/build_index.colbert2.json").read_text())
    assert record["metrics"]["bytes"] == sum(file.stat().st_size for file in (results / "index/colbert2").glob("*.npy"))


def test_what_it_sorts_for_others_has_its_scores(results):
    store, ids, queries, passages = vectors(results, "colbert2")
    scores = maxsim(queries, passages)
    before = {ranking.query_id: ranking.passages for ranking in read_run(results / "runs/bm25/test.trec", store)}
    for ranking in read_run(results / "runs/sorted/test.trec", store):
        top = ranking.passages[:10]
        assert set(top) == set(before[ranking.query_id][:10])
        np.testing.assert_allclose(ranking.scores[:10], scores[ids.index(ranking.query_id)][top], atol=1e-4)


def test_cards_report_and_search_know_them(results):
    page = (results / "report.html").read_text()
    assert "late interaction" in page
    assert "sorts only the top 10 of bm25" in page or "the top 10 of bm25 re-ranked by colbert2" in page
    card = (results / "models/colbert2/README.md").read_text()
    assert "ColBERTv2, arXiv 2112.01488" in card
    assert "## Results" in card
    for system in ("colbert1", "colbert2", "sorted"):
        command = [sys.executable, "-m", "simlm.cli", "search", "--experiment", "late", "--results", str(results.parent), "--system", system, "--json"]
        done = subprocess.run([*command, "-k", "3", "find a path"], capture_output=True, text=True, timeout=300, cwd=results.parent.parent)
        assert done.returncode == 0, done.stderr
        answer, _ = json.JSONDecoder().raw_decode(done.stdout)
        assert len(answer["hits"]) == 3
