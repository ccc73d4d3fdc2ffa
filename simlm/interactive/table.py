"""An answer as a table that fits the terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

from simlm.interactive.snippets import marked, plain, score_text, snippet

if TYPE_CHECKING:
    from rich.text import Text

    from simlm.interactive.systems import Answer

NARROW = 72
"""Columns below which title and passage share one cell."""


def print_answer(answer: Answer, stream: TextIO | None = None, width: int | None = None) -> None:
    """Print rank, score, title and the telling part of each passage.

    Parameters
    ----------
    stream
        Standard output by default.
    width
        Characters per line; default: the terminal's, or 100 where there is none.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(file=stream, width=width, highlight=False)
    if width is None and not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 100
    if not answer.hits:
        console.print(f"{answer.system} found no passage for this query.", markup=False)
        return
    narrow = console.width < NARROW
    table = Table(show_lines=False, pad_edge=False, box=None, padding=(0, 2, 1, 0), expand=False)
    table.add_column("", justify="right", style="bold", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True, style="cyan")
    share = console.width - 16
    if narrow:
        table.add_column("passage", overflow="fold")
    else:
        table.add_column("title", overflow="fold", style="bold", max_width=max(16, share * 3 // 10))
        table.add_column("passage", overflow="fold")
    lines = 4 if narrow else 3
    for hit in answer.hits:
        title = plain(hit.title) or hit.id
        body = _marked(snippet(hit.text, answer.query, max(60, (share if narrow else share * 7 // 10) * lines - 8)), answer.query)
        cells = [_bold(title) + "\n" + body] if narrow else [_bold(title), body]
        table.add_row(str(hit.rank), score_text(hit.score), *cells)
    console.print(table)
    console.print(f"{answer.system} ({answer.kind}) of {answer.experiment}, {answer.seconds * 1000:,.0f} ms", style="dim", markup=False)


def _bold(text: str) -> Text:
    from rich.text import Text

    return Text(text, style="bold")


def _marked(text: str, query: str) -> Text:
    """``text`` with the query's words underlined; never read as markup."""
    from rich.text import Text

    return Text.assemble(*((part, "underline" if hit else "") for part, hit in marked(text, query)))
