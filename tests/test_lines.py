"""Lines of plain and gzipped files: the same as Python's own, and in bounded memory."""

from __future__ import annotations

import gzip
import resource
import subprocess
import sys

import pytest

from simlm.errors import UserError
from simlm.lines import numbered_lines


@pytest.mark.parametrize("text", ["", "a", "a\n", "a\r\n\r\nb", "é\u2028x\n\x0b\n", "\n".join(map(str, range(500_000))) + "\n", "x" * 3_000_000 + "\ny"])
@pytest.mark.parametrize("gzipped", [False, True])
def test_as_split_at_newlines(tmp_path, text, gzipped):
    file = tmp_path / "f"
    file.write_bytes(gzip.compress(text.encode(), 1) if gzipped else text.encode())
    wanted = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []
    assert list(numbered_lines(file)) == list(enumerate(wanted, 1))


def test_bad_bytes_are_named_by_their_line(tmp_path):
    (tmp_path / "f").write_bytes(b"a\n" * 700_000 + b"\xff\n")
    with pytest.raises(UserError, match=r"f:700001 is not UTF-8"):
        list(numbered_lines(tmp_path / "f"))


def test_a_cut_archive_is_named(tmp_path):
    (tmp_path / "f.gz").write_bytes(gzip.compress(b"a\nb\n")[:-6])
    with pytest.raises(UserError, match=r"f.gz cannot be read after line"):
        list(numbered_lines(tmp_path / "f.gz"))


def test_a_line_of_gigabytes_is_refused_in_bounded_memory(tmp_path):
    """Two gibibytes of zeros pack into two megabytes; the reading process may have 1 GiB."""
    with gzip.open(tmp_path / "corpus.jsonl.gz", "wb", 1) as stream:
        stream.write(b'{"_id": "d", "text": "x"}\n')
        for _ in range(64):
            stream.write(bytes(1 << 25))
    code = f"from simlm.lines import numbered_lines\nfor line in numbered_lines({str(tmp_path / 'corpus.jsonl.gz')!r}): pass"
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))  # noqa: E731
    done = subprocess.run([sys.executable, "-c", code], preexec_fn=limit, capture_output=True, text=True, timeout=100)
    assert "corpus.jsonl.gz:2 is longer than 268,435,456 bytes" in done.stderr
