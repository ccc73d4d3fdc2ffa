"""What the page shows, and its rendering with everything escaped."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from simlm.interactive.snippets import breakable, marked, plain, score_text, snippet

if TYPE_CHECKING:
    from jinja2 import Environment

    from simlm.interactive.systems import Answer, Hit
    from simlm.interactive.training_view import Seen, TrainingQuery


@dataclass(frozen=True)
class Column:
    """One side of the page: an answer, or the sentence that says why there is none.

    Attributes
    ----------
    first_relevant, looked_at
        Rank of the first passage judged relevant, of so many that were looked at.
    """

    system: str
    answer: Answer | None
    error: str | None
    first_relevant: int | None = None
    looked_at: int = 0

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
    pending
        Systems that are being loaded, for which the page will ask again.
    link
        Address of this page.
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
    counts: list[str]
    pending: list[str] = field(default_factory=list)
    link: str = "/"
    address: str = "/"


@dataclass(frozen=True)
class TrainingPage:
    """What a training saw of a query, or queries to choose from."""

    experiment: str
    passages: int
    students: list[str]
    student: str
    source: str
    teacher: str | None
    words: str
    queries: list[tuple[str, str]]
    looked_at: int
    seen: TrainingQuery | None = None
    above: int = 0
    error: str | None = None
    address: str = "/training"


@dataclass(frozen=True)
class MapPage:
    """Places of passages between 0 and 1000 (700 downwards), with (x, y, group, title, whether it is among the best of the query)."""

    experiment: str
    passages: int
    models: list[str]
    model: str
    query: str
    kept: float = 0.0
    names: list[str] = field(default_factory=list)
    dots: list[tuple[float, float, int, str, bool]] = field(default_factory=list)
    place: tuple[float, float] | None = None
    hits: list[Hit] = field(default_factory=list)
    error: str | None = None
    address: str = "/map"


def render(page: Page, nonce: str) -> str:
    """The page as HTML; ``nonce`` is what the content security policy lets run."""
    shown = [[_hit(page, column, other, hit) for hit in column.answer.hits] if column.answer else [] for column, other in zip(page.columns, page.columns[::-1])]
    common = sum(hit["other"] is not None for hit in shown[0]) if page.columns[0].system != page.columns[1].system else None
    return _environment().get_template("search.html").render(page=page, shown=shown, common=common, nonce=nonce)


def render_training(page: TrainingPage, nonce: str) -> str:
    """The page about a training as HTML."""
    positives, negatives = ([_passage(page, seen) for seen in side] for side in ((page.seen.positives, page.seen.negatives) if page.seen else ((), ())))
    return _environment().get_template("training.html").render(page=page, positives=positives, negatives=negatives, nonce=nonce)


def _passage(page: TrainingPage, seen: Seen) -> dict[str, Any]:
    text, query = plain(seen.text), page.seen.text if page.seen else ""
    parts = marked(snippet(text, query), query)
    return {"name": breakable(plain(seen.title) or seen.id), "score": seen.score, "above": seen.above, "parts": parts, "text": text, "cut": len(text) > 240}


def render_map(page: MapPage, nonce: str) -> str:
    """The map as HTML."""
    return _environment().get_template("map.html").render(page=page, nonce=nonce)


def _hit(page: Page, column: Column, other: Column, hit: Any) -> dict[str, Any]:
    return {
        "rank": hit.rank,
        "score": score_text(hit.score),
        "id": hit.id,
        "title": breakable(plain(hit.title) or hit.id),
        "parts": marked(snippet(hit.text, page.query), page.query),
        "text": plain(hit.text),
        "plain_title": plain(hit.title) or hit.id,
        "cut": len(plain(hit.text)) > 240,
        "other": other.rank_of(hit.id) if other.system != column.system else None,
        "relevant": hit.id in page.relevant,
    }


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(loader=PackageLoader("simlm.interactive", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
