"""Tokens of the corpus's passages, made once for trainings and embeddings alike.

The rows are cut into parts of :data:`PART`. A part is a file of its own, whole or absent, whose digest is compared whenever it is
read; whoever first needs a part that is absent or damaged makes it. Processes that need the same parts at the same time make
different ones, and wait for each other only where nothing else is left to make.

Everything that tokens depend on is in the key of the folder (:func:`cache_key`): two tokenizers of one length lie beside each
other, and the tokens of an earlier corpus are removed.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from simlm.config.code import fingerprint
from simlm.errors import UserError
from simlm.files import atomic_file, sha256_text, write_json
from simlm.models.reading import Reading, TextReader
from simlm.models.text import Tokens
from simlm.progress import progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from simlm.corpus.store import CorpusStore

PART = 8192
"""Rows of a part."""

HEADER = 128
"""Bytes before the numbers of a part: a line of JSON, filled up with spaces."""


def cache_bytes(passages: int, tokens: float) -> float:
    """Size on disk of the tokens of ``passages`` that hold ``tokens`` together, in bytes.

    >>> cache_bytes(8192, 8192 * 70)
    2359424
    """
    return 4 * tokens + 8 * passages + HEADER * -(-passages // PART)


def tokenizer_digest(tokenizer: PreTrainedTokenizerFast) -> str:
    """Hex digest of what a tokenizer makes of a text, whatever it was asked before: its last truncation and padding are no part of it."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    rules |= {"truncation": None, "padding": None}
    return sha256_text(json.dumps([rules, tokenizer.truncation_side, "token_type_ids" in tokenizer.model_input_names], sort_keys=True))


def cache_key(store: CorpusStore, tokenizer: PreTrainedTokenizerFast, length: int, reading: Reading) -> dict[str, Any]:
    """All that the tokens depend on."""
    import tokenizers

    return {
        "corpus_sha256": store.sha256,
        "tokenizer_sha256": tokenizer_digest(tokenizer),
        "length": length,
        "reading": {"title": reading.title, "prompt": reading.passage_prompt},
        "part": PART,
        "tokenizers": tokenizers.__version__,
        "code": fingerprint("simlm.models.reading"),
    }


class TokenCache:
    """The parts of one corpus, tokenizer and length.

    Parameters
    ----------
    length
        Tokens that are read of a passage, special ones included.
    folder
        ``Paths.tokens``; caches of other tokenizers and lengths lie beside this one.
    reading
        How titles and a prompt are written before the text.
    """

    def __init__(self, store: CorpusStore, tokenizer: PreTrainedTokenizerFast, length: int, folder: Path, reading: Reading | None = None) -> None:
        self.store, self.tokenizer, self.length, self.reading = store, tokenizer, length, reading or Reading()
        key = cache_key(store, tokenizer, length, self.reading)
        self.folder = folder / sha256_text(json.dumps(key, sort_keys=True))[:16]
        self._last: tuple[int, Tokens] | None = None
        if not (self.folder / "about.json").exists():
            _remove_other_corpora(folder, store.sha256)
            write_json(self.folder / "about.json", key)

    @property
    def parts(self) -> range:
        """Numbers of all parts."""
        return range(-(-len(self.store) // PART))

    def rows(self, part: int) -> tuple[int, int]:
        """First row and end of a part."""
        return part * PART, min((part + 1) * PART, len(self.store))

    def file(self, part: int) -> Path:
        """Where a part lies."""
        return self.folder / f"{part:06d}.tokens"

    def block(self, first: int, last: int) -> Tokens:
        """Tokens of the rows from ``first`` to ``last`` (exclusive), in memory; what is missing of them is made."""
        pieces = []
        for part in range(first // PART, -(-last // PART)):
            start, end = self.rows(part)
            tokens = self.part(part)
            inside = range(max(first, start) - start, min(last, end) - start)
            pieces.append(tokens if len(inside) == len(tokens) else tokens.take(inside))
        return Tokens.join(pieces)

    def part(self, part: int) -> Tokens:
        """Tokens of a part, in memory; the last one is kept for the next question."""
        if self._last is None or self._last[0] != part:
            self._last = part, self._read(part) or self._remade(part)
        return self._last[1]

    def missing(self, parts: Iterable[int]) -> list[int]:
        """Those of ``parts`` that nobody has made yet."""
        return [part for part in parts if not self.file(part).exists()]

    def make(self, parts: Sequence[int]) -> None:
        """Make what is missing of ``parts``; other processes that do the same at this time are left the parts that they have begun."""
        missing, others = self.missing(parts), []
        for part in progress(missing, len(missing), "Tokenizing passages", unit="parts") if missing else ():
            if not self._make(part, wait=False):
                others.append(part)
        for part in others:  # made by now, or soon; or their process was killed
            self._make(part, wait=True)

    def whole(self) -> PassageTokens:
        """Tokens of all passages; what is missing is made, and every part is compared with its digest."""
        self.make(self.parts)
        lengths, second, ids = [], [], []
        for part in self.parts:
            tokens = self._read(part) or self._remade(part)
            lengths.append(tokens.lengths.astype(np.int32))
            second.append(tokens.second)
            ids.append(np.memmap(self.file(part), np.int32, "r", HEADER + 8 * len(tokens), (len(tokens.ids),)) if len(tokens.ids) else tokens.ids)
        return PassageTokens(ids, np.concatenate([np.zeros(0, np.int32), *lengths]), np.concatenate([np.zeros(0, np.int32), *second]))

    def _make(self, part: int, wait: bool, check: bool = False) -> bool:
        """Write a part unless it is there (and, with ``check``, whole); False if another process is at it and ``wait`` is not asked for."""
        lock = FileLock(self.folder / f".{part:06d}.lock")
        try:
            with lock.acquire(timeout=-1 if wait else 0):
                if not (self._read(part) if check else self.file(part).exists()):
                    _write(self.file(part), self._tokenized(part))
                # One that has waited for this file holds a nameless one from here on, and finds the part made.
                Path(lock.lock_file).unlink(missing_ok=True)
            return True
        except Timeout:
            return False

    def _remade(self, part: int) -> Tokens:
        self._make(part, wait=True, check=True)
        tokens = self._read(part)
        if tokens is None:
            raise UserError(f"{self.file(part)} cannot be read back; look at that disk and run the command again")
        return tokens

    def _tokenized(self, part: int) -> Tokens:
        first, last = self.rows(part)
        return TextReader(self.tokenizer, {"passage": self.length}, self.reading).passages(*self.store.texts(range(first, last)))

    def _read(self, part: int) -> Tokens | None:
        """A part; None if it is absent or damaged."""
        first, last = self.rows(part)
        try:
            with open(self.file(part), "rb") as stream:
                about, body = json.loads(stream.read(HEADER)), stream.read()
            if hashlib.sha256(body).hexdigest() != about["sha256"]:
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        rows, numbers = last - first, np.frombuffer(body, np.int32)
        return Tokens(numbers[2 * rows :], np.concatenate([[0], np.cumsum(numbers[:rows], dtype=np.int64)]), numbers[rows : 2 * rows])


def _write(file: Path, tokens: Tokens) -> None:
    body = b"".join(np.ascontiguousarray(numbers, np.int32).tobytes() for numbers in (tokens.lengths, tokens.second, tokens.ids))
    header = json.dumps({"sha256": hashlib.sha256(body).hexdigest()})
    with atomic_file(file) as temporary:
        temporary.write_bytes(header.encode().ljust(HEADER - 1) + b"\n" + body)


def _remove_other_corpora(folder: Path, corpus_sha256: str) -> None:
    """Tokens of what the corpus was before would never be read again."""
    for about in folder.glob("*/about.json"):
        try:
            same = json.loads(about.read_text(encoding="utf-8"))["corpus_sha256"] == corpus_sha256
        except (OSError, ValueError, KeyError, TypeError):
            same = False
        if not same:
            shutil.rmtree(about.parent, ignore_errors=True)


class PassageTokens:
    """Tokens of all passages, by row; the ids are mapped from the parts and paged in as they are used.

    Attributes
    ----------
    lengths
        Tokens of each passage, int32, shape (passages,).
    second
        See :class:`~simlm.models.text.Tokens`.
    """

    def __init__(self, ids: list[np.ndarray], lengths: np.ndarray, second: np.ndarray) -> None:
        self._ids, self.lengths, self.second = ids, lengths, second

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.take([row]).ids

    @functools.cached_property
    def _starts(self) -> np.ndarray:
        """Where each passage begins in its part."""
        starts = np.cumsum(self.lengths, dtype=np.int64) - self.lengths
        starts -= np.repeat(starts[::PART], PART)[: len(starts)]
        return starts

    def take(self, rows: Sequence[int] | np.ndarray) -> Tokens:
        """Tokens of ``rows``, in that order (repetitions allowed)."""
        rows = np.asarray(rows, np.int64)
        lengths = self.lengths[rows].astype(np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        positions = np.arange(offsets[-1]) + np.repeat(self._starts[rows] - offsets[:-1], lengths)
        parts = np.repeat(rows // PART, lengths)
        ids, order = np.empty(len(positions), np.int32), np.argsort(parts, kind="stable")
        found, begins = np.unique(parts[order], return_index=True)
        for part, chosen in zip(found.tolist(), np.split(order, begins[1:])):
            ids[chosen] = self._ids[part][positions[chosen]]
        return Tokens(ids, offsets, self.second[rows])
