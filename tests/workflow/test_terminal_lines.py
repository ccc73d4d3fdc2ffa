"""A real Snakemake says what simlm.watching tells it to: a line per job, and after a failure the cause last."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from simlm.paths import Paths
from simlm.watching.progress import read_progress

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_line_for_every_job_and_the_cause_in_the_last_line(snakemake, tmp_path):
    shutil.copytree(ROOT / "config/examples/own-corpus", tmp_path / "corpus")
    (tmp_path / "pretrained").symlink_to(ROOT / "pretrained")
    values = yaml.safe_load((ROOT / "config/examples/own-corpus.yaml").read_text())
    values["corpus"]["path"] = str(tmp_path / "corpus")
    config = tmp_path / "own.yaml"
    config.write_text(yaml.safe_dump(values))
    broken = tmp_path / "corpus/corpus.jsonl"
    whole = broken.read_text()
    broken.write_text(whole + "{no json\n")
    arguments = ["--cores", "2", "results/own-corpus/corpus/manifest.json", "results/own-corpus/config.yaml"]
    failed = snakemake(tmp_path, *arguments, configs=[config])
    assert failed.code == 1
    last, stopped = failed.text.rstrip().splitlines()[-1], failed.text
    assert last.startswith("simlm prepare-corpus: ")
    assert f"corpus.jsonl:{len(whole.splitlines()) + 1} is not JSON" in last
    assert re.search(r"^prepare_corpus failed after .*: results/own-corpus/logs/prepare_corpus.log$", stopped, re.MULTILINE)
    assert not re.search("Select jobs|Warning|ignored", stopped)
    assert read_progress(Paths(tmp_path / "results/own-corpus")).failed == ["prepare_corpus"]
    broken.write_text(whole)
    done = snakemake(tmp_path, *arguments, configs=[config])
    assert done.code == 0, done.text
    assert re.search(r"^1/1  \d:\d\d gone  Reading passages, queries and judgements \d:\d\d$", done.text, re.MULTILINE)
    assert "Done: 1 job in " in done.text
    assert not re.search(r"Select jobs|Building DAG|Finished jobid|Job \d+:|\[\w{3} \w{3} ", done.text), done.text
    own = snakemake(tmp_path, *arguments, "--force", "--verbose", configs=[config])
    assert "Finished jobid" in own.text
