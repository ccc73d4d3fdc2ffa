"""Every command that the documentation, a docstring or a comment of a configuration gives exists and takes these options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from simlm.cli import COMMANDS, parser_of
from simlm.config import load_experiment

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"docs": ("md",), "pretrained": ("md",), "config": ("md", "yaml"), "simlm": ("py",)}
TEXTS = [ROOT / "README.md", *(file for folder, endings in FOLDERS.items() for ending in endings for file in (ROOT / folder).rglob(f"*.{ending}"))]
LINE = re.compile(r"^\s*(?:\.venv/bin/)?simlm ([a-z][a-z-]*(?: [^#]*)?)", re.MULTILINE)
"""A command on a line of its own; what stands behind three spaces or a hash explains it."""
INLINE = re.compile(r"`+(?:\.venv/bin/)?simlm ([a-z][^`{]*)`")
FILE = re.compile(r"(?<![\w/])config/[\w/-]+\.yaml")


def commands(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    found = []
    for file in TEXTS:
        for line in file.read_text(encoding="utf-8").splitlines() if pattern is LINE else [file.read_text(encoding="utf-8")]:
            found += [(str(file.relative_to(ROOT)), match[1]) for match in pattern.finditer(line)]
    return found


def words_of(command: str) -> list[str]:
    return shlex.split(re.split(r"\s{3,}", command)[0], comments=True)


def parses(words: list[str]) -> bool:
    try:
        parser_of(words[0]).parse_args(words[1:])
    except (SystemExit, ValueError):
        return False
    return True


def test_commands_on_lines_of_their_own_parse():
    lines = [(file, words_of(command)) for file, command in commands(LINE)]
    lines = [(file, words) for file, words in lines if words[0] in COMMANDS or "--" in " ".join(words)]  # the rest is prose
    assert len(lines) > 40
    wrong = [f"{file}: simlm {' '.join(words)}" for file, words in lines if words[0] not in COMMANDS or not parses(words)]
    assert not wrong, "\n".join(wrong)


def test_commands_inside_sentences_exist_with_their_options():
    wrong = []
    for file, command in commands(INLINE):
        name, *others = command.split()
        options = [word.partition("=")[0] for word in others if word.startswith("--")]
        if name not in COMMANDS or set(options) - parser_of(name)._option_string_actions.keys():
            wrong.append(f"{file}: simlm {command}")
    assert not wrong, "\n".join(wrong)


def test_a_wrong_command_is_found():
    assert not parses(words_of("mine-negatives --config config/config.yaml --source bm25"))
    assert parses(words_of("mine-negatives --config config/config.yaml --model bm25   # the negatives"))


@pytest.mark.parametrize("file", sorted({name for text in TEXTS for name in FILE.findall(text.read_text(encoding="utf-8"))}))
def test_configurations_that_are_named_are_there(file):
    assert (ROOT / file).exists()


def test_make_reads_configurations_that_fit_together():
    for text in TEXTS:
        for files in re.findall(r'CONFIG="([^"]+)"', text.read_text(encoding="utf-8")):
            there = [ROOT / name for name in files.split() if (ROOT / name).exists()]
            assert there
            load_experiment(*there)
