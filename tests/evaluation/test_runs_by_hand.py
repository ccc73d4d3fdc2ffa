"""`simlm evaluate --run --qrels` on files as other tools leave them."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simlm.cli import main

RUN = "q0 Q0 d5 1 3.0 t\nq0 Q0 d0 2 2.0 t\nq1 Q0 d1 1 3.0 t\n"
QRELS = "query-id\tcorpus-id\tscore\nq0\td0\t1.0\nq1\td1\t1\nq2\td2\t1\n"


def judged(folder: Path, capsys, run: str | bytes = RUN, qrels: str = QRELS, name: str = "a.trec", *options: str) -> tuple[int, str]:
    (folder / name).write_bytes(run if isinstance(run, bytes) else run.encode())
    (folder / "qrels.tsv").write_text(qrels)
    code = main(["evaluate", "--run", str(folder / name), "--qrels", str(folder / "qrels.tsv"), "--metrics", "MRR@10", *options])
    output = capsys.readouterr()
    return code, output.out + output.err


@pytest.mark.parametrize("run", [RUN, RUN.rstrip("\n"), RUN.replace("\n", "\r\n"), gzip.compress(RUN.encode(), mtime=0), "\ufeff" + RUN])
def test_forms_of_a_run(tmp_path, capsys, run):
    """RR by hand: (1/2 + 1 + 0) / 3; the query that the run lacks counts as 0 and is told."""
    code, said = judged(tmp_path, capsys, run)
    assert code == 0
    assert "RR@10\t0.5000" in said
    assert "caution: the run lacks 1 of 3 judged queries, which count as 0" in said


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        ("", "the run is empty"),
        (RUN[:-5], "a.trec:3 is not a line of a TREC run"),
        (RUN.replace("q", "x"), "none of the run's queries is judged"),
        (gzip.compress(RUN.encode(), mtime=0)[:-5], "a.trec cannot be read after line"),
        (b"q0 Q0 d\xff 1 3.0 t\n", "a.trec:1 is not UTF-8"),
    ],
)
def test_refused(tmp_path, capsys, run, sentence):
    code, said = judged(tmp_path, capsys, run)
    assert code == 2
    assert sentence in said


@pytest.mark.parametrize("environment", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii"}])
def test_a_terminal_of_ascii(tmp_path, environment):
    (tmp_path / "a.trec").write_text("häuser Q0 d 1 1.0 t\n", encoding="utf-8")
    (tmp_path / "a.qrels").write_text("häuser 0 d 1\n", encoding="utf-8")
    command = [sys.executable, "-m", "simlm.cli", "evaluate", "--run", str(tmp_path / "a.trec"), "--qrels", str(tmp_path / "a.qrels"), "--per-query"]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"h\\xe4user\tRR@10\t1.0000" in done.stdout
