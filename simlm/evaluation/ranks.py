"""At which rank a run has the first relevant passage of each query."""

from __future__ import annotations

from collections.abc import Iterable

from simlm.corpus.qrels import Qrels
from simlm.runs.runs import TrecRanking


def first_relevant(run: Iterable[TrecRanking], qrels: Qrels, least: int = 1) -> dict[str, int]:
    """Query id → rank of its best-placed passage of grade ``least`` or more; queries without one are left out.

    The order of the run's lines counts, as in the metrics.

    >>> import numpy as np
    >>> first_relevant([TrecRanking("q", ["d1", "d2"], np.array([2.0, 1.0]))], {"q": {"d1": 0, "d2": 1}})
    {'q': 2}
    """
    ranks = {}
    for ranking in run:
        grades = qrels.get(ranking.query_id, {})
        rank = next((place for place, name in enumerate(ranking.ids, 1) if grades.get(name, 0) >= least), None)
        if rank is not None:
            ranks[ranking.query_id] = rank
    return ranks
