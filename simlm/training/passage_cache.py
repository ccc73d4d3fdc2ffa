"""Tokens of the passages that a stage reads, made once and kept on disk while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simlm.models.text import BLOCK, Tokens
from simlm.progress import progress
from simlm.training.spill import Spill

if TYPE_CHECKING:
    from simlm.corpus.store import CorpusStore


class PassageCache:
    """Tokens by corpus row.

    Parameters
    ----------
    rows
        Arrays of the rows that will be asked for, in any order, repeated or not.
    tokenize
        Takes titles and texts, returns their tokens.
    folder
        Where the tokens lie while the process runs.
    """

    def __init__(self, store: CorpusStore, rows: Iterable[np.ndarray], tokenize: Callable[[Sequence[str], Sequence[str]], Tokens], folder: Path) -> None:
        wanted = np.zeros(len(store), bool)
        for some in rows:
            wanted[some] = True
        self.rows = np.flatnonzero(wanted)
        spill, lengths, second = Spill(np.int32, folder), [np.zeros(1, np.int64)], []
        for start in progress(range(0, len(self.rows), BLOCK), -(-len(self.rows) // BLOCK), "Tokenizing passages", unit="blocks"):
            part = tokenize(*store.texts(self.rows[start : start + BLOCK]))
            spill.append(part.ids)
            lengths.append(part.lengths)
            second.append(part.second)
        self.tokens = Tokens(spill.finish(), np.cumsum(np.concatenate(lengths)), np.concatenate(second or [np.zeros(0, np.int32)]))

    def take(self, rows: np.ndarray) -> Tokens:
        """Tokens of ``rows``, in that order."""
        return self.tokens.take(np.searchsorted(self.rows, rows))
