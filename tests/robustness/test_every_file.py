"""One byte of any file that a stage has left: a sentence, or made again, or the same result; never another one in silence."""

from __future__ import annotations

import os
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest
from small_world import Place

from simlm import damage
from simlm.cli import main
from simlm.digests import digests_below
from simlm.files import sha256_file

pytestmark = pytest.mark.slow

NO_RESULTS = {
    ".config/*": "what is known of digests, and configurations named by theirs",
    "stages/.*": "locks",
    "config.yaml": "compared with the records by whoever reads it",
    "models/*/README.md": "the card, for people",
    "embeddings/*/.*.journal": "what a finished shard no longer needs",
}
"""Files that no reader takes a figure from."""

MADE_BY_READERS = {
    "tokens/*": ("train", "--model", "base"),
    "embeddings/*/queries.*": ("search-index", "--model", "student"),
}
"""Files that lie between stages: whoever reads them compares their digest, and makes them again."""

READ_BY = {
    "corpus/*": ("search-bm25",), "tokenizer/*": ("train", "--model", "base"), "bm25/*": ("search-bm25",),
    "runs/bm25/train.parquet": ("mine-negatives", "--model", "bm25"),
    "runs/*.trec": ("evaluate",), "negatives/*": ("train", "--model", "retriever"), "teacher_scores/*": ("train", "--model", "student"),
    "models/base/*": ("train", "--model", "simlm"), "models/student/*": ("encode", "--model", "student"),
    "models/reranker/*": ("rerank", "--model", "reranker"),
    "embeddings/student/?-of-2.*": ("build-index", "--model", "student"), "index/*": ("search-index", "--model", "student"),
    "evaluation/*/*.tsv": ("compare-systems",),
}  # fmt: skip
"""A stage that reads a file, by itself."""


@pytest.fixture
def whole(world, tmp_path, monkeypatch):
    """A copy in which nothing is damaged, with its dates."""
    shutil.copytree(world, tmp_path / "place", copy_function=shutil.copy2)
    monkeypatch.chdir(tmp_path / "place")
    digests_below.cache_clear()
    return Place(Path("."))


def kind(file: str, patterns):
    return next((pattern for pattern in patterns if fnmatch(file, pattern)), None)


def flip(file: Path) -> bytes:
    """Change one byte in the middle, as a bad disk does: size and date stay. Returns what was there."""
    before, about = file.read_bytes(), file.stat()
    content = bytearray(before)
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    return before


def call(capfd, *command: str) -> tuple[int, str]:
    capfd.readouterr()
    digests_below.cache_clear()
    return main([*command, "--config", "config.yaml"]), capfd.readouterr().err


def test_one_byte_of_any_file(whole, capfd):
    root, refused = whole.paths.root, []
    files = sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file() and file.stat().st_size)
    assert call(capfd, "summary")[0] == 0
    for name in files:
        if kind(name, NO_RESULTS) or kind(name, MADE_BY_READERS):
            continue
        before = flip(root / name)
        digests_below.cache_clear()
        assert root / name in [each.file for each in damage.find(whole.paths)], f"a workflow takes {name} for whole"
        code, said = call(capfd, "summary")
        assert code == 2, f"{name}: shown all the same"
        assert name in said or "config.yaml holds" in said or Path(name).stem in said, said
        if pattern := kind(name, READ_BY):
            code, said = call(capfd, *READ_BY[pattern])
            assert code == 2, f"{name}: read by {READ_BY[pattern]}"
            assert "Traceback" not in said
            refused.append(pattern)
        (root / name).write_bytes(before)
    assert set(refused) == set(READ_BY), "files of all kinds were there"
    assert call(capfd, "summary")[0] == 0


@pytest.mark.parametrize("pattern", MADE_BY_READERS)
def test_what_readers_make_themselves_comes_out_the_same(whole, capfd, pattern):
    root, command = whole.paths.root, MADE_BY_READERS[pattern]

    def results() -> dict[str, str]:
        found = [*root.rglob("*.safetensors"), *root.rglob("*.trec"), *root.rglob("*.parquet")]
        return {str(file): sha256_file(file) for file in found}

    before, harmed = results(), [file for file in root.rglob("*") if file.is_file() and kind(str(file.relative_to(root)), [pattern])]
    assert harmed
    for file in harmed:
        flip(file)
    digests_below.cache_clear()
    for each in damage.find(whole.paths):
        assert each.file in harmed
    damage.undo(damage.find(whole.paths))
    assert call(capfd, *command)[0] == 0
    assert results() == before
