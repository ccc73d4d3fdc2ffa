"""From a ``corpus:`` block to the corpus store."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from simlm.config.corpora import CorpusBlock
from simlm.corpus.counts import expected_counts
from simlm.corpus.records import Collection
from simlm.corpus.writer import write_corpus

SOURCES = {
    "python_docs": ("simlm.corpus.python_docs", "read_python_docs"),
    "ir_datasets": ("simlm.corpus.ir_datasets_source", "read_ir_datasets"),
    "beir": ("simlm.corpus.beir", "read_beir"),
    "hub": ("simlm.corpus.hub", "read_hub"),
}
"""Value of ``corpus.source`` → module and function that turns the block into a Collection; imported when used."""


def open_source(block: CorpusBlock) -> Collection:
    """The collection that a ``corpus:`` block describes."""
    module, function = SOURCES[block.source]
    return getattr(importlib.import_module(module), function)(block)


def prepare_corpus(block: CorpusBlock, folder: str | Path) -> dict[str, Any]:
    """Read the source and write the corpus store; returns its manifest.

    Raises
    ------
    UserError
        On anything wrong with the source; the folder is then left as it was.
    """
    collection = open_source(block)
    return write_corpus(
        folder,
        collection.passages,
        collection.splits,
        collection.facts,
        max_passages=block.max_passages,
        max_queries=block.max_queries,
        cut=(block.partition.of, block.partition.parts) if block.partition else None,
        dropped=collection.dropped,
        expected=expected_counts(block),
        exclude_query=block.exclude_query,
    )
