"""Fingerprints change with what the code does and with nothing else."""

from __future__ import annotations

import pytest

from simlm.config import code
from simlm.config.code import WHOLE, fingerprint, reached, source_files
from simlm.config.jobs import STAGES
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
        code._read.cache_clear()
        return fingerprint("thing.part")

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
    assert fingerprint("simlm.config") != fingerprint("simlm.config.kinds")


def test_imported_modules_count_and_plumbing_does_not(tmp_path, monkeypatch):
    folder = tmp_path / "simlm"
    folder.mkdir()
    monkeypatch.setattr(code, "PACKAGE", folder)

    def digest(**files: str) -> str:
        for name, text in {"losses": "A = 1", "paths": "B = 1", "unused": "C = 1", **files}.items():
            (folder / f"{name}.py").write_text(text)
        (folder / "train.py").write_text("from simlm import paths\n\ndef f():\n    from simlm.losses import A\n    return A, paths.B\n")
        code._read.cache_clear()
        return fingerprint("simlm.train")

    before = digest()
    assert digest(losses="A = 2") != before
    assert digest(paths="B = 2") == digest(unused="C = 2") == before


TRAINERS = [kind.trainer.split(":")[0] for kind in KINDS if kind.trainer]


@pytest.mark.parametrize("module", sorted({*(f"simlm.stages.{stage}" for stage in STAGES), *sum(WHOLE.values(), ()), *TRAINERS}))
def test_the_modules_behind_the_stages_exist(module):
    assert source_files(module), f"{module} does not exist"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.trainer], ids=lambda kind: kind.__name__)
def test_trainers_exist(kind):
    module, function = kind.trainer.split(":")
    assert f"def {function}(" in source_files(module)[0].read_text()


def test_a_retrievers_losses_are_part_of_its_training():
    assert {"simlm.training.losses", "simlm.training.schedule"} <= reached(["simlm.training.biencoder"])
    assert "simlm.corpus.python_docs" not in reached(["simlm.training.biencoder"])
    assert "simlm.training.biencoder" not in reached(["simlm.training.mlm"])


def test_what_chooses_the_arithmetic_and_reads_the_corpus_counts_where_it_is_used():
    for stage in ("train", "encode", "search_index", "rerank", "score_teacher"):
        assert {"simlm.hardware", "simlm.corpus.store"} <= reached([f"simlm.stages.{stage}", *(["simlm.training.biencoder"] if stage == "train" else [])]), (
            stage
        )
    for stage in ("mine_negatives", "evaluate", "index_bm25", "search_bm25", "fuse"):
        assert "simlm.corpus.store" in reached([f"simlm.stages.{stage}"]), stage
    for stage in ("index_bm25", "evaluate", "train"):
        assert not {"simlm.corpus.writer", "simlm.corpus.beir", "simlm.machine", "simlm.digests"} & reached([f"simlm.stages.{stage}"]), stage
    assert {"simlm.corpus.store", "simlm.corpus.beir", "simlm.corpus.writer"} <= {
        ".".join(file.with_suffix("").parts[-3:]) for module in WHOLE["prepare_corpus"] for file in source_files(module)
    }
