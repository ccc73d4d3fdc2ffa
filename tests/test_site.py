"""The site of the documentation: every page is in it, the reference of commands follows from the commands, and it builds without a warning."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from simlm.cli import COMMANDS, parser_of

ROOT = Path(__file__).resolve().parents[1]


def test_every_page_is_in_the_navigation():
    named = set(re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    hook = (ROOT / "docs/site/hooks.py").read_text(encoding="utf-8")
    outside = dict(re.findall(r'"([\w-]+\.md)": "([\w/-]+\.md)"', hook))
    assert named == {file.name for file in (ROOT / "docs").glob("*.md")} | set(outside)
    assert all((ROOT / file).exists() for file in outside.values() if not file.startswith("build/"))


def test_the_reference_has_every_command_with_every_option():
    page = runpy.run_path(str(ROOT / "docs/site/commands.py"))["page"]()
    for name in COMMANDS:
        section = page.split(f"### `simlm {name}`\n")[1].split("\n### ")[0]
        for option in parser_of(name)._option_string_actions:
            assert option in ("-h", "--help") or option in section, f"{name} {option}"


@pytest.mark.slow
def test_it_builds_without_a_warning(tmp_path):
    mkdocs = shutil.which("mkdocs") or ROOT / "build/docs-env/bin/mkdocs"
    if not Path(mkdocs).exists():
        pytest.skip("mkdocs is not installed (make docs installs it into build/docs-env)")
    clone = tmp_path / "clone"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".git", ".venv", "results", "build", "__pycache__"))
    (clone / "build").mkdir()
    page = subprocess.run([sys.executable, "docs/site/commands.py"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    (clone / "build/commands.md").write_text(page)
    built = subprocess.run([mkdocs, "build", "--strict"], capture_output=True, text=True, cwd=clone)
    assert built.returncode == 0, built.stderr
    assert "simlm status" in (clone / "build/site/commands.html").read_text(encoding="utf-8")
