"""Counts that a source must have: those that the configuration gives, or else the known ones of published collections."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from simlm.config.corpora import CorpusBlock, IrDatasets
from simlm.errors import UserError

FILE = Path(__file__).with_name("counts.yaml")


@dataclass(frozen=True)
class Expected:
    """Counts before anything is left out; None or an absent split: any count will do."""

    passages: int | None = None
    queries: dict[str, int] = field(default_factory=dict)

    def check_passages(self, found: int) -> None:
        """Refuse another number of passages.

        Raises
        ------
        UserError
            With both numbers.
        """
        if self.passages not in (None, found):
            raise UserError(f"the source has {found:,} passages, but {self.passages:,} are expected; {_ADVICE} corpus.expected.passages")

    def check_queries(self, split: str, found: int) -> None:
        """Refuse another number of judged queries.

        Raises
        ------
        UserError
            With both numbers.
        """
        wanted = self.queries.get(split)
        if wanted not in (None, found):
            raise UserError(f"the split {split} has {found:,} judged queries, but {wanted:,} are expected; {_ADVICE} corpus.expected.queries.{split}")


_ADVICE = "the download was cut or is of another version: delete it and fetch it again, or correct"


def expected_counts(block: CorpusBlock) -> Expected:
    """Counts for a ``corpus:`` block; what the block itself says goes before ``counts.yaml``.

    >>> block = IrDatasets(source="ir_datasets", passages="msmarco-passage", splits={"dev": "msmarco-passage/dev/small"})
    >>> expected_counts(block)
    Expected(passages=8841823, queries={'dev': 6980})
    """
    known = _known()
    passages, queries = None, {}
    if isinstance(block, IrDatasets):
        passages = known["passages"].get(block.passages)
        queries = {split: known["queries"][name] for split, name in block.splits.items() if name in known["queries"]}
    return Expected(block.expected.passages or passages, {**queries, **block.expected.queries})


@cache
def _known() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))
