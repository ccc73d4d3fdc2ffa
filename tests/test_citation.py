"""CITATION.cff says what the package says, and is what citation tools read."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

import simlm

ROOT = Path(__file__).resolve().parents[1]


def test_the_citation_belongs_to_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= cited.keys()
    assert str(cited["version"]) == project["version"] == simlm.__version__
    assert cited["license"] == project["license"]
    paper = cited["preferred-citation"]
    assert paper["identifiers"][0]["value"] == "arXiv:2207.02578"
    assert {"type", "title", "authors"} <= paper.keys()
    assert all({"family-names", "given-names"} <= author.keys() for author in paper["authors"])
