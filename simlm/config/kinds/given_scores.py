"""``given_scores``: the scores of a teacher from elsewhere, in a file; it neither retrieves nor re-ranks, but can be a ``teacher``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from simlm.config.kinds.base import ModelBlock, Origin
from simlm.config.score_files import form_of_scores
from simlm.errors import UserError


class GivenScores(ModelBlock):
    """A teacher's scores of queries with passages, from a file; which form it has is seen from its beginning (docs/own-data.md)."""

    kind: Literal["given_scores"]
    made_by: ClassVar[None] = None
    noun: ClassVar[str] = "given scores"
    shape: ClassVar[tuple[str, str]] = ("[/", "/]")
    origin: ClassVar[Origin] = "released"
    teaches: ClassVar[bool] = True
    outside: ClassVar[tuple[str, ...]] = ()
    looked_at: ClassVar[str] = "its first line was looked at; score_teacher reads them all"

    path: str = Field(
        min_length=1,
        description="The file: a TREC run, Tevatron's JSON lines with scores, or sentence-transformers' query, passage and score as TSV, CSV, Parquet, JSON "
        "lines or nested JSON, gzipped or not; never a pickled one. Its ids are those of the corpus.",
    )

    def reads_files(self) -> dict[str, Path]:
        return {"scores": Path(self.path).expanduser()}

    def mistakes(self) -> Iterator[tuple[str, str]]:
        try:
            form_of_scores(self.path)
        except UserError as error:
            yield "path", str(error)

    def about(self) -> str:
        return f"scores in {self.path}"
