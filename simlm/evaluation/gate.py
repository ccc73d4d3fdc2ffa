"""Was it reproduced? Every figure that has a published counterpart, judged against a stated tolerance.

``OK``: within the tolerance. ``OKish``: within :data:`OKISH` times the tolerance. ``FAIL``: further away. A trained
model that is *better* than published by more than its tolerance is ``OKish``: nothing to fail for, but worth a look
for a leak. Where titles, corpus or queries are not those of the publication, the cell is ``not comparable`` and says why.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simlm.config.published import Published, counterparts, load_published, origin_of, published_file, titles_of
from simlm.evaluation import numbers
from simlm.evaluation.compare import MetricRow

if TYPE_CHECKING:
    from simlm.config import Experiment

OK, OKISH_WORD, FAIL, NOT_COMPARABLE = "OK", "OKish", "FAIL", "not comparable"
VERDICTS = (OK, OKISH_WORD, FAIL, NOT_COMPARABLE)

OKISH = 2.0
"""A difference of up to this many tolerances is OKish."""


@dataclass(frozen=True)
class Verdict:
    """One line of ``reproduction.tsv``: our figure, the published one, and what to think of it.

    ``origin`` is lexical, trained or released, which decides the tolerance; ``titles`` are those that our system read;
    ``reason`` says why a cell cannot be compared, and is ``-`` otherwise.
    """

    system: str
    split: str
    metric: str
    value: float
    published: float
    difference: float
    tolerance: float
    verdict: str
    origin: str
    titles: str
    published_titles: str
    published_system: str
    source: str
    reason: str


def judge(difference: float, tolerance: float, origin: str) -> str:
    """Verdict on a difference (ours minus published), rounded to six decimals so that a difference equal to the tolerance is inside.

    >>> judge(-0.004, 0.004, "trained"), judge(-0.007, 0.004, "trained"), judge(-0.009, 0.004, "trained")
    ('OK', 'OKish', 'FAIL')
    >>> judge(0.02, 0.004, "trained"), judge(0.02, 0.004, "released")
    ('OKish', 'FAIL')
    """
    distance = round(abs(difference), 6)
    if distance <= tolerance:
        return OK
    if distance <= round(OKISH * tolerance, 6) or (origin == "trained" and difference > 0):
        return OKISH_WORD
    return FAIL


def verdicts(experiment: Experiment, rows: list[MetricRow], manifest: dict[str, Any]) -> list[Verdict]:
    """Judge the table of an experiment.

    Parameters
    ----------
    rows
        ``metrics.tsv``.
    manifest
        The corpus's manifest, whose counts decide whether the corpus is the published one.
    """
    own = {(row.system, row.split, row.metric): row for row in rows}
    passages = load_published(published_file(experiment))["collection"]["passages"]
    found = []
    for system, figure in counterparts(experiment):
        row = own.get((system, figure.split, figure.metric))
        if row is None:
            continue
        origin, titles = origin_of(experiment, system), titles_of(experiment, system)
        difference = row.value - figure.value
        reason = _why_not(figure, titles, row, manifest, passages)
        word = NOT_COMPARABLE if reason else judge(difference, figure.tolerances[origin], origin)
        ours = (system, figure.split, figure.metric, row.value, figure.value, difference, figure.tolerances[origin])
        found.append(Verdict(*ours, word, origin, titles, figure.titles, figure.system, figure.source, reason or "-"))
    return found


def _why_not(figure: Published, titles: str, row: MetricRow, manifest: dict[str, Any], passages: int) -> str:
    """Why a figure cannot be compared, or nothing."""
    count = manifest["passages"]["count"]
    if count != passages:
        return f"the corpus has {count:,} passages, the published one {passages:,}"
    if titles != figure.titles:
        return f"titles: {titles} here, {figure.titles} published"
    if titles != "none" and not manifest["passages"]["with_title"]:
        return "no passage has a title"
    if row.n_queries != figure.queries:
        return f"{row.n_queries:,} queries, {figure.queries:,} published"
    return ""


def counts(lines: list[Verdict]) -> dict[str, int]:
    """How many cells have each verdict, in the order of :data:`VERDICTS`."""
    tally = Counter(line.verdict for line in lines)
    return {word: tally[word] for word in VERDICTS}


def summary(lines: list[Verdict]) -> str:
    """The counts as a sentence.

    >>> summary([])
    'no figure has a published counterpart'
    """
    if not lines:
        return "no figure has a published counterpart"
    return ", ".join(f"{count} {word}" for word, count in counts(lines).items() if count)


def tell(lines: list[Verdict], fail: bool) -> int:
    """Print the verdicts; returns the exit code, which is 1 if a figure FAILs and ``fail`` asks for it."""
    if lines:
        print(text_table(lines))
    print(f"Against published figures: {summary(lines)}.")
    return 1 if fail and counts(lines)[FAIL] else 0


def text_table(lines: list[Verdict]) -> str:
    """The verdicts as aligned text."""
    from simlm.evaluation.table import columns

    table = [["system", "split", "metric", "here", "published", "difference", "tolerance", "verdict"]]
    for line in lines:
        cells = [numbers.figure(line.value), numbers.figure(line.published), numbers.signed(line.difference), numbers.figure(line.tolerance)]
        table.append([line.system, line.split, line.metric, *cells, line.verdict + (f" ({line.reason})" if line.reason != "-" else "")])
    return columns(table, left=3)
