"""Files of judgements in their forms, and what is refused."""

from __future__ import annotations

import gzip

import pytest

from simlm.cli import main
from simlm.corpus.qrels import read_qrels
from simlm.errors import UserError

FORMS = {
    "TREC": "1 0 a 2\n1 0 b 0\n2 0 a 1\n",
    "TREC, tabs, no last line end": "1\t0\ta\t2\n1\t0\tb\t0\n2\t0\ta\t1",
    "TREC, header": "qid\titer\tdocno\tlabel\n1\t0\ta\t2\n1\t0\tb\t0\n2\t0\ta\t1",
    "TREC, Q0, several blanks, CRLF": "1 Q0  a\t2\r\n1 Q0 b +0\r\n2 Q0 a 1\r\n",
    "BEIR, blank line": "query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t0\n\n2\ta\t1\n",
    "BEIR, relevance": "query-id\tcorpus-id\trelevance\n1\ta\t2\n1\tb\t0\n2\ta\t1\n",
    "BEIR, label": "qid\tdocid\tlabel\n1\ta\t2\n1\tb\t0\n2\ta\t1\n",
    "BEIR, no header, decimals": "1\ta\t2.0\n1\tb\t0.\n2\ta\t1.00\n",
    "byte order mark": "\ufeffquery-id corpus-id score\n1 a 2\n1 b 0\n2 a 1\n",
    "CSV, another order": 'score,"corpus-id",query-id\n2,a,1\n0,"b",1\n1,a,2\n',
    "more columns": "query-id\tcorpus-id\tscore\tassessor\n1\ta\t2\tx\n1\tb\t0\ty\n2\ta\t1\tz\n",
    "the same twice": "1 0 a 2\n1 0 a 2\n1 0 b 0\n2 0 a 1\n",
    "contradicting, the highest counts": "1 0 a 0\n1 0 b 0\n1 0 a 2\n2 0 a 1\n",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("gzipped", [False, True])
def test_forms(tmp_path, form, gzipped):
    content = FORMS[form].encode()
    (tmp_path / "qrels").write_bytes(gzip.compress(content) if gzipped else content)
    assert read_qrels(tmp_path / "qrels") == {"1": {"a": 2, "b": 0}, "2": {"a": 1}}


def test_a_run_is_judged_alike_by_every_form(tmp_path, capsys):
    """`simlm evaluate` reads what `prepare-corpus` reads: RR is (1/2 + 1/1) / 2 for a run whose first query finds `b` before `a`."""
    (tmp_path / "run").write_text("1 Q0 b 1 2.0 t\n1 Q0 a 2 1.0 t\n2 Q0 a 1 1.0 t\n")
    for form, content in FORMS.items():
        (tmp_path / "qrels").write_bytes(content.encode())
        assert main(["evaluate", "--run", str(tmp_path / "run"), "--qrels", str(tmp_path / "qrels"), "--metrics", "MRR@10"]) == 0, form
        assert "RR@10\t0.7500" in capsys.readouterr().out, form


def test_json_lines_with_grades_of_three_types(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"query-id": "1", "corpus-id": "a", "score": 2.0}\n{"query-id": 1, "corpus-id": "b", "score": 0}\n')
    assert read_qrels(tmp_path / "a.jsonl") == {"1": {"a": 2, "b": 0}}


def test_ids_stay_text(tmp_path):
    (tmp_path / "qrels").write_text("007 0 0003 1\n007 0 NA 1\n1.0 0 null -1\n")
    assert read_qrels(tmp_path / "qrels") == {"007": {"0003": 1, "NA": 1}, "1.0": {"null": -1}}


def test_contradictions_are_told(tmp_path):
    told: list[str] = []
    (tmp_path / "qrels").write_text("1 0 a 1\n1 0 a 2\n1 0 a 1\n1 0 b 1\n1 0 b 1\n")
    assert read_qrels(tmp_path / "qrels", told.append) == {"1": {"a": 2, "b": 1}}
    assert "judges 1 pairs" in told[0]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1 0 a 1\n1 0 b\n", ":2 is not a judgement"),
        ("query-id\tcorpus-id\tscore\tscore\n1\ta\t1\t0\n", ":1: the column 'score' is there twice"),
        ("1 0 a high\n", ":1 is not a judgement"),
        ("1\ta\t--1\n", ":1 is not a judgement"),
        ("1\ta\t1\n1\tb\t--1\n", ":2 is not a judgement: the grade must be a whole number, not '--1'"),
        ("1 a\n", ":1 is not a judgement"),
        ("1 0 a 0.5\n", ":1 is not a judgement: the grade must be a whole number, not '0.5'"),
        ("1 0 a 1_0\n", ":1 is not a judgement"),
        ("1 0 a nan\n", ":1 is not a judgement"),
        ("1 0 a 99999999999\n", ":1 is not a judgement: the grade 99999999999 is too large"),
        ("1 0 a 1 x\n", ":1 is not a judgement"),
        ("1\u00a00 0 a 1\n", ":1: the query id .* holds white space"),
        ("1 Q0 a 1 0.5 tag\n", ":1 is not a judgement"),
        ("query-id\tcorpus-id\tgrad\n1\ta\t1\n", "no column is called score, .*rename one"),
        ("query-id\tcorpus-id\tscore\n", "holds no judgements"),
        ("", "holds no judgements"),
    ],
)
def test_mistakes(tmp_path, text, sentence):
    (tmp_path / "qrels").write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_qrels(tmp_path / "qrels")


def test_missing(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_qrels(tmp_path / "qrels")
