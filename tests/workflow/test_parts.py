"""A search whose job was planned for all splits searches all of them, whatever the last rule of the file is for."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_job_searches_the_splits_of_its_own_rule(snakemake, tmp_path):
    (tmp_path / "pretrained").symlink_to(ROOT / "pretrained")
    # The retrievers can be mined, so that the rule read last is the one that searches the training queries.
    (tmp_path / "config").symlink_to(ROOT / "config")
    done = snakemake(tmp_path, "--cores", "1", "--until", "search_bm25", "search_bm25_train", configs=[ROOT / "config" / "examples" / "own-corpus.yaml"])
    assert done.code == 0, done.text[-3000:]
    runs = tmp_path / "results" / "own-corpus" / "runs" / "bm25"
    assert sorted(file.name for file in runs.iterdir()) == ["test.trec", "train.parquet"]
