"""Several seeds in the workflow: a node per seed, averaged and tested; a seed more runs no other again."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from simlm.evaluation.variants import read_variant_tests, read_variants

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TINY = {"steps": 3, "batch_size": 16, "threads": 1, "log_steps": 1, "learning_rate": 1e-3}
DENSE = {"kind": "biencoder", "negatives": "bm25", "hard_negatives": 2, "query_length": 16, "passage_length": 32, "holdout": 10, **TINY}
MASKED = {"encoder_corruption": "masked", "encoder_objective": "restore_masked", "decoder": "none", "probe": None, "max_length": 32, "holdout": 16}
WAY = {"similarity": "dot", "normalize": False, "temperature": 1.0, "title": "separated", "score_terms": "queries"}


def overlay(file: Path, seeds: list[int]) -> Path:
    models = {
        "masked": {"kind": "bottleneck", "init": "base", "seeds": seeds, **MASKED, **TINY},
        "from_masked": {**DENSE, "init": "masked"},
        "second": {**DENSE, **WAY, "init": "masked", "further_negatives": "from_masked"},
    }
    evaluate = {"systems": ["bm25", "from_masked", "second"], "splits": {"test": {}}, "depth": 30, "resamples": 100}
    file.write_text(yaml.safe_dump({"name": "seeds", "models": models, "encoding": {"shards": 1}, "evaluate": evaluate}))
    return file


@pytest.fixture(scope="module")
def two(one_process, tmp_path_factory):
    """An experiment of two seeds."""
    folder = tmp_path_factory.mktemp("seeds")
    done = one_process(folder, configs=[ROOT / "config/smoke.yaml", overlay(folder / "two.yaml", [1, 2])])
    assert done.code == 0, done.text[-5000:]
    return folder


def test_each_seed_is_trained_mined_and_averaged(two):
    results = two / "results/seeds"
    assert {file.stem for file in (results / "negatives").glob("*.parquet")} == {"bm25", "from_masked-s1", "from_masked-s2"}
    weights = [(results / f"models/from_masked-s{seed}/model.safetensors").read_bytes() for seed in (1, 2)]
    assert weights[0] != weights[1]
    rows = {row.variant: row for row in read_variants(results / "variants.tsv") if row.metric == "RR@10"}
    assert {name: row.runs for name, row in rows.items()} == {"bm25": 1, "from_masked": 2, "second": 2}
    assert rows["from_masked"].spread >= 0
    pairs = {(row.system, row.against) for row in read_variant_tests(results / "evaluation/variant_tests.tsv")}
    assert pairs == {("bm25", "from_masked"), ("bm25", "second"), ("from_masked", "second")}
    assert 'id="variants"' in (results / "report.html").read_text()


def test_a_seed_more_trains_that_seed_alone(two, one_process):
    done = one_process(two, configs=[ROOT / "config/smoke.yaml", overlay(two / "three.yaml", [1, 2, 3])])
    assert done.code == 0, done.text[-5000:]
    trained = {file.stem: file.stat().st_mtime for file in (two / "results/seeds/stages").glob("train.*.json")}
    newest = sorted(trained, key=trained.get)[-3:]
    assert set(newest) == {"train.masked-s3", "train.from_masked-s3", "train.second-s3"}
    assert not [job for job in done.jobs if "-s1" in job or "-s2" in job]
    assert {row.runs for row in read_variants(two / "results/seeds/variants.tsv") if row.variant != "bm25"} == {3}
