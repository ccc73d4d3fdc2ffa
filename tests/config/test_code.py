"""Fingerprints change with what the code does and with nothing else."""

from __future__ import annotations

import importlib.util

import pytest

from simlm.config import code
from simlm.config.code import STAGES, fingerprint, source_files
from simlm.config.kinds import KINDS

BEFORE = '''"""Module."""

LIMIT = 3
"""What it limits."""


def f(x):
    """Docstring."""
    return x + LIMIT  # comment
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "thing").mkdir()
    monkeypatch.setattr(code, "PACKAGE", tmp_path / "thing")

    def digest(text: str) -> str:
        (tmp_path / "thing" / "part.py").write_text(text)
        code._meaning.cache_clear()
        return fingerprint(["thing.part"])

    return digest


def test_comments_docstrings_and_layout_do_not_count(package):
    rewritten = '"""Another."""\nLIMIT = 3\n"""Else."""\n\ndef f(x):\n    # why\n    return (x +\n            LIMIT)\n'
    assert package(BEFORE) == package(rewritten)


def test_a_changed_value_counts(package):
    assert package(BEFORE) != package(BEFORE.replace("LIMIT = 3", "LIMIT = 4"))
    assert package(BEFORE) != package(BEFORE.replace("x + LIMIT", "x - LIMIT"))


def test_a_docstring_alone_is_a_body(package):
    assert package('def f():\n    """Only this."""\n') == package('def f():\n    """Other."""\n')


def test_packages_hold_their_modules():
    assert len(source_files("simlm.config")) > len(source_files("simlm.config.kinds")) > 1
    assert fingerprint(["simlm.config"]) != fingerprint(["simlm.config.kinds"])


@pytest.mark.parametrize("module", sorted({*(name for names in STAGES.values() for name in names), *(name for kind in KINDS for name in kind.code)}))
def test_declared_modules_exist(module):
    assert source_files(module), f"{module} is declared but does not exist"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.trainer], ids=lambda kind: kind.__name__)
def test_trainers_exist_and_are_part_of_the_code(kind):
    module, function = kind.trainer.split(":")
    assert module in kind.code
    assert importlib.util.find_spec(module) is not None
    assert f"def {function}(" in source_files(module)[0].read_text()
