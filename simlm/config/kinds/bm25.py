"""BM25, the lexical system that every experiment has without naming it among its models."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from simlm.config.kinds.base import System

LEXICAL = "bm25"
"""Name of the system."""

LANGUAGES = (
    "arabic", "armenian", "basque", "catalan", "czech", "danish", "dutch", "esperanto", "estonian", "finnish", "french", "german", "greek", "hindi",
    "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian", "persian", "polish", "portuguese", "romanian", "russian", "serbian",
    "sesotho", "spanish", "swedish", "tamil", "turkish", "yiddish",
)  # fmt: skip
"""Languages besides English that PyStemmer has an algorithm for."""

ANALYZERS = ("words", "stemmed", "split_names", "split_names_stemmed", *LANGUAGES)
"""Names of the tokenisations; ``simlm.lexical.analyzers`` says what they do."""


class Bm25(System):
    """Lucene's BM25 over title and text."""

    kind: ClassVar[str] = LEXICAL
    noun: ClassVar[str] = "lexical search"
    shape: ClassVar[tuple[str, str]] = ("[(", ")]")
    origin: ClassVar[str] = "lexical"
    mined: ClassVar[bool] = True
    made_by: ClassVar[str] = "index_bm25"
    runs_by: ClassVar[str] = "search_bm25"

    k1: float = Field(0.82, gt=0, description="Saturation of term frequency.")
    b: float = Field(0.68, ge=0, le=1, description="Length normalisation.")
    analyzers: list[Literal[ANALYZERS]] = Field(
        ["stemmed"],
        min_length=1,
        description="Tokenisations to try; the one with the best main metric on `select_on` is kept. `split_names` cuts names at `_`, `.` and case changes; "
        "`stemmed` applies stop words and the English stemmer, the name of a language its own (docs/languages.md).",
    )
    titles: bool = Field(True, description="Index title and text; false: the text alone, as in published figures of BM25 on MS MARCO.")
    select_on: str = Field("dev", description="Split on which the analyzer is chosen (only read when there are several).")

    def reads_lexical_index(self) -> bool:
        return True

    def reads_titles(self) -> bool:
        return self.titles

    def reads_splits(self) -> dict[str, str]:
        return {"select_on": self.select_on} if len(self.analyzers) > 1 else {}

    def about(self) -> str:
        return f"Lucene's BM25, k1 {self.k1:g}, b {self.b:g}" + ("" if self.titles else ", without titles")
