"""Configuration files that are no configuration: one sentence with file and line (mistakes inside one: tests/config)."""

from __future__ import annotations

import pytest
import yaml
from changes import put
from small_world import CONFIGURATION, Place, write_configuration, write_data

GOOD = yaml.safe_dump(CONFIGURATION, sort_keys=False)


CASES = {
    "Latin-1": (GOOD.replace("name: tiny", "name: tiny # gr\xf6\xdfe").encode("latin-1"), ["config.yaml:1 is not UTF-8"]),
    "UTF-16": (GOOD.encode("utf-16"), ["config.yaml:1 is not UTF-8"]),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), ["config.yaml:1 is not UTF-8"]),
    "zero bytes": (bytes(500), ["config.yaml", "is not YAML"]),
    "nothing": (b"", ["must hold a mapping"]),
    "a list": (b"- a\n- b\n", ["must hold a mapping"]),
    "a sentence": (b"please train a model\n", ["must hold a mapping"]),
    "a torn quote": (GOOD.replace("name: tiny", 'name: "tiny').encode(), ["config.yaml:", "is not YAML"]),
    "a tab for spaces": (GOOD.replace("  source", "\tsource").encode(), ["config.yaml:", "is not YAML"]),
    "brackets without end": (b"a: " + b"[" * 50_000, ["config.yaml", "nested too deeply"]),
    "a key twice": ((GOOD + "name: other\n").encode(), ["config.yaml:", "the key 'name' is given twice"]),
    "a model twice": (GOOD.replace("models:\n", "models:\n  base: {kind: mlm}\n").encode(), ["the key 'base' is given twice"]),
    "a Python object": (GOOD.replace("name: tiny", "name: !!python/object/apply:os.system ['touch owned']").encode(), ["config.yaml:1 is not YAML"]),
    "a date that does not exist": (GOOD.replace("name: tiny", "name: 2026-02-31").encode(), ["config.yaml", "is not YAML"]),
    "a number for a key": ((GOOD + "1: 2\n").encode(), ["the key 1 is not text"]),
    "null for a model": (put("models", "base", None), ["models.base"]),
    "a number for a name": (put("name", 7), ["name", "not 7"]),
    "a name that leaves the folder": (put("name", "../../etc"), ["config.yaml:1: name", "'../../etc'"]),
    "a model that leaves the folder": (put("models", "../x", {"kind": "mlm", "size": {}, "steps": 1}), ["the model name '../x' becomes a file name"]),
    "a model that is a command": (put("models", "a; touch owned", {"kind": "mlm", "size": {}, "steps": 1}), ["'a; touch owned' becomes a file name"]),
    "a model that is an option": (put("models", "--help", {"kind": "mlm", "size": {}, "steps": 1}), ["'--help' becomes a file name"]),
    "a split that leaves the folder": (put("corpus", "splits", {"../x": "dev", "train": "train"}), ["the split name '../x' becomes a file name"]),
    "results with a wildcard": (put("results", "out/{model}"), ["results"]),
    "a rate that is no number": (put("models", "base", "learning_rate", float("nan")), ["models.base.learning_rate", "finite"]),
    "an endless rate": (put("models", "base", "learning_rate", float("inf")), ["models.base.learning_rate", "finite"]),
    "a seed beyond 32 bits": (put("seed", 2**32), ["seed", "4294967296"]),
    "a seed of five thousand digits": (GOOD.replace("name: tiny", "name: tiny\nseed: " + "9" * 5000).encode(), ["config.yaml"]),
}


@pytest.mark.parametrize("case", CASES)
def test_is_refused(tmp_path, monkeypatch, refused, case):
    content, fragments = CASES[case]
    monkeypatch.chdir(tmp_path)
    if callable(content):
        write_configuration(tmp_path, content)
    else:
        (tmp_path / "config.yaml").write_bytes(content)
    sentence = refused(Place(tmp_path), "check", "--config", "config.yaml")
    for fragment in fragments:
        assert fragment in sentence, sentence
    assert not (tmp_path / "owned").exists()


def test_the_unchanged_configuration_is_accepted(tmp_path, monkeypatch):
    from simlm.cli import main

    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "data")
    assert main(["check", "--config", str(write_configuration(tmp_path))]) == 0


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["check", "--config", "none.yaml"], "none.yaml does not exist"),
        (["check", "--config", "."], "cannot be read"),
        (["summary", "--experiment", "../../etc"], "'../../etc' is not the name of an experiment"),
        (["serve", "--experiment", "/etc"], "'/etc' is not the name of an experiment"),
        (["search", "x", "--experiment", "none"], "no experiment is called 'none'"),
    ],
)
def test_names_on_the_command_line(tmp_path, monkeypatch, refused, arguments, fragment):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    assert fragment in refused(Place(tmp_path), *arguments)
