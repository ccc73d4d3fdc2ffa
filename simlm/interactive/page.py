"""What the page shows, and its rendering with everything escaped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from simlm.interactive.snippets import breakable, marked, plain, score_text, snippet

if TYPE_CHECKING:
    from jinja2 import Template

    from simlm.interactive.systems import Answer


@dataclass(frozen=True)
class Column:
    """One side of the page: an answer, or the sentence that says why there is none."""

    system: str
    answer: Answer | None
    error: str | None

    def rank_of(self, passage_id: str) -> int | None:
        """Rank of a passage on this side."""
        return next((hit.rank for hit in self.answer.hits if hit.id == passage_id), None) if self.answer else None


@dataclass(frozen=True)
class Page:
    """Everything that the template reads.

    Attributes
    ----------
    relevant
        Ids of the passages judged relevant for the query.
    is_judged
        Whether the query is one of the judged ones.
    examples
        Queries to try.
    """

    experiment: str
    systems: list[str]
    query: str
    k: str
    columns: list[Column]
    relevant: set[str]
    is_judged: bool
    examples: list[str]
    split: str
    passages: int


def render(page: Page, nonce: str) -> str:
    """The page as HTML; ``nonce`` is what the content security policy lets run."""
    shown = [[_hit(page, column, other, hit) for hit in column.answer.hits] if column.answer else [] for column, other in zip(page.columns, page.columns[::-1])]
    common = sum(hit["other"] is not None for hit in shown[0]) if page.columns[0].system != page.columns[1].system else None
    return _template().render(page=page, shown=shown, common=common, nonce=nonce)


def _hit(page: Page, column: Column, other: Column, hit: Any) -> dict[str, Any]:
    return {
        "rank": hit.rank,
        "score": score_text(hit.score),
        "id": hit.id,
        "title": breakable(plain(hit.title) or hit.id),
        "parts": marked(snippet(hit.text, page.query), page.query),
        "text": plain(hit.text),
        "cut": len(plain(hit.text)) > 240,
        "other": other.rank_of(hit.id) if other.system != column.system else None,
        "relevant": hit.id in page.relevant,
    }


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("simlm.interactive", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("page.html")
