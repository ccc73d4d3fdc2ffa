"""Tokens of blocks of passages one after the other, as an embedding reads them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from simlm import processes
from simlm.ahead import ahead
from simlm.models.text import Tokens
from simlm.text.token_cache import PART, TokenCache

WORTH_PROCESSES = 32_768
"""Passages from which processes that tokenize are worth their start of some seconds."""


def token_blocks(cache: TokenCache, blocks: Sequence[tuple[int, int]], device: str) -> Iterator[Tokens]:
    """Tokens of each block (first row and end), from the cache, which makes what it lacks.

    For a ``device`` that is faster than a tokenizer, any but ``cpu``, processes of their own make them while it works.
    """
    import torch

    workers, parts = torch.get_num_threads(), sorted({part for first, last in blocks for part in range(first // PART, -(-last // PART))})
    missing = cache.missing(parts)
    if device != "cpu" and workers > 1 and len(missing) * PART >= WORTH_PROCESSES:
        return made_ahead(cache, parts, blocks, workers)
    if processes.count() > 1:  # each begins at another part
        cache.make(missing[processes.rank() :: processes.count()])
    return (cache.block(*block) for block in blocks)


def made_ahead(cache: TokenCache, parts: Sequence[int], blocks: Sequence[tuple[int, int]], workers: int) -> Iterator[Tokens]:
    """The same, with ``workers`` processes that make the ``parts`` in which the blocks lie."""
    # Threads would not do: Python's lock, held while lists become arrays, kept the GPU idle for four fifths of the time.
    start = (cache.store, cache.tokenizer, cache.length, cache.folder.parent, cache.reading)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, start) as pool:
        made, reached = ahead(pool, _make, parts, 2 * workers), -1
        for first, last in blocks:
            while reached < (last - 1) // PART:
                reached = next(made)
            yield cache.block(first, last)


def _start(*arguments: Any) -> None:
    global _cache
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _cache = TokenCache(*arguments)


def _make(part: int) -> int:
    _cache.make([part])
    return part
