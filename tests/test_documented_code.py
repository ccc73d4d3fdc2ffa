"""Every file and function that the documentation sends a reader to is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACE = re.compile(r"`((?:simlm|tests|benchmarks|workflow|config)/[\w./-]+\.(?:py|smk|yaml|sh))(?::(\w+))?`")


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.name)
def test_places_are_there(text):
    for file, name in PLACE.findall(text.read_text(encoding="utf-8")):
        assert (ROOT / file).is_file(), f"{text.name} names {file}"
        if name:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}, f"{text.name} names {name} of {file}"


def test_the_reading_order_of_a_step_is_read():
    places = PLACE.findall((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert len([name for _, name in places if name]) > 25


def test_methods_that_the_reading_order_names():
    """`BottleneckModel` — `forward`, and the like: a method in backticks behind the class of its line."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for line in re.findall(r"^\d\. .*$", text, flags=re.MULTILINE):
        places = PLACE.findall(line)
        defined = {name for _, name in places}
        for file, _ in places:
            defined |= {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)}
        named = set(re.findall(r"`([a-z_]+)`", line))
        assert named <= defined, f"{line}: {named - defined}"
