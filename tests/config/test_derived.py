"""What follows from the typed configuration is up to date, and true."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest
import yaml

from simlm.cli import main
from simlm.commands.schema import derived_files
from simlm.config.docs import commented, json_schema, reference
from simlm.config.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]


def test_derived_files_are_up_to_date():
    for path, text in derived_files(ROOT).items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is out of date: run `simlm schema`"


@pytest.mark.parametrize("name", ["config.yaml", "smoke.yaml"])
def test_the_schema_accepts_the_shipped_files(name):
    jsonschema.validate(yaml.safe_load((ROOT / "config" / name).read_text()), json.loads(json_schema()))


def test_the_schema_refuses_an_unknown_key():
    values = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    values["models"]["simlm"]["encodermask"] = 0.3
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, json.loads(json_schema()))


def test_every_key_is_described():
    def check(schema, place):
        for name, entry in schema.get("properties", {}).items():
            assert "description" in entry or name in ("kind", "source"), f"{place}.{name} lacks a description"

    whole = json.loads(json_schema())
    check(whole, "experiment")
    for name, definition in whole["$defs"].items():
        check(definition, name)


def test_the_reference_names_every_kind_and_key():
    text = reference()
    for block in KINDS:
        for key in block.model_fields:
            assert f"| `{key}` |" in text
    assert "None" not in text
    assert "typing." not in text


def test_comments_leave_the_values_alone():
    text = (ROOT / "config" / "config.yaml").read_text()
    bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert yaml.safe_load(commented(bare)) == yaml.safe_load(text)
    assert commented(commented(text)) == commented(text)
    assert "## kept" in commented("name: x\n## kept\n# not kept\nseed: 1\n")
    assert "not kept" not in commented("name: x\n## kept\n# not kept\nseed: 1\n")


def test_schema_check_fails_when_out_of_date(tmp_path, capsys):
    for part in ("config", "workflow/schemas"):
        shutil.copytree(ROOT / part, tmp_path / part)
    assert main(["schema", "--check", "--root", str(tmp_path)]) == 0
    (tmp_path / "config" / "README.md").write_text("old")
    assert main(["schema", "--check", "--root", str(tmp_path)]) == 2
    assert "README.md" in capsys.readouterr().err
    assert main(["schema", "--root", str(tmp_path)]) == 0
    assert main(["schema", "--check", "--root", str(tmp_path)]) == 0
