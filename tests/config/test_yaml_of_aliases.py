"""A few lines of YAML that stand for more than any memory holds are refused at once."""

from __future__ import annotations

import time

import pytest

from simlm.config import load_experiment
from simlm.errors import UserError

LAUGHS = "a0: &a0 {name: x}\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
MERGES = "a0: &a0 {name: x}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 28))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [(LAUGHS, "stand for more than 100,000 values"), (MERGES, "stand for more than 100,000 values"), ("a: &a [*a]\n", "a value holds itself")],
)
def test_refused_at_once(tmp_path, text, sentence):
    (tmp_path / "c.yaml").write_text(text)
    start = time.process_time()
    with pytest.raises(UserError, match=rf"c.yaml:\d+ is not YAML: .*{sentence}"):
        load_experiment(tmp_path / "c.yaml")
    assert time.process_time() - start < 1


def test_aliases_and_merge_keys_are_still_read(tmp_path):
    from simlm.config.load import read_values

    (tmp_path / "c.yaml").write_text("common: &c {steps: 5}\nmodels: {one: {<<: *c, kind: mlm}, two: {<<: [*c], steps: 6}}\n")
    assert read_values(tmp_path / "c.yaml")["models"] == {"one": {"steps": 5, "kind": "mlm"}, "two": {"steps": 6}}
