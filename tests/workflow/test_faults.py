"""The fault runner itself: a few kills of a short chain, and what it says about them (docs/reliability.md has the long run)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def short_chain() -> dict:
    """A retriever without mined negatives, and what it starts from."""
    values = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    base, retriever = values["models"]["base"], values["models"]["control"]
    base.update(checkpoint_steps=3)
    retriever.update(negatives=None, holdout=0, checkpoint_steps=3)
    del retriever["hard_negatives"]
    values["models"] = {"base": base, "retriever": retriever}
    values["evaluate"].update(systems=["retriever"], baseline="retriever")
    return values


def test_killed_runs_end_like_the_undisturbed_one(tmp_path):
    config = tmp_path / "short.yaml"
    config.write_text(yaml.safe_dump(short_chain()))
    command = [sys.executable, str(ROOT / "benchmarks" / "faults.py"), "--config", str(config), "--no-overlay", "--kills", "3", "--runs", "1"]
    done = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "out" / "faults.json").read_text())
    assert len(report["kills"]) == 3
    assert report["digests"] >= 6  # the table, two models, two curves, the vectors
    assert report["runs"][0]["different"] == []
    assert report["runs"][0]["leftovers"] == []
