"""Files of judgements in their forms, and what is refused."""

from __future__ import annotations

import pytest

from simlm.errors import UserError
from simlm.evaluation.qrels import read_qrels


@pytest.mark.parametrize(
    "text", ["1 0 a 2\n1 0 b 0\n2 0 a 1\n", "1\t0\ta\t2\n1\t0\tb\t0\n2\t0\ta\t1", "query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t0\n\n2\ta\t1\n"]
)
def test_forms(tmp_path, text):
    (tmp_path / "qrels").write_text(text)
    assert read_qrels(tmp_path / "qrels") == {"1": {"a": 2, "b": 0}, "2": {"a": 1}}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1 0 a 1\n1 0 b\n", ":2 is not a judgement"),
        ("1 0 a high\n", ":1 is not a judgement"),
        ("1 a\n", ":1 is not a judgement"),
        ("1 Q0 a 1 0.5 tag\n", ":1 is not a judgement"),
        ("1 0 a 1\n1 0 a 2\n", ":2: passage 'a' is judged twice for query '1', with different grades"),
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
