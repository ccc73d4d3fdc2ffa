"""``Answer@k``: the share of questions with an answer in one of the first ``k`` passages, which papers on question answering call R@k or top-k accuracy."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from simlm.config.metrics import depth_of
from simlm.errors import UserError
from simlm.evaluation.metrics import Evaluation
from simlm.runs.answers import AnswerMatcher
from simlm.runs.runs import TrecRanking

if TYPE_CHECKING:
    from simlm.corpus.store import CorpusStore

QUESTIONS_AT_ONCE = 1024
"""Questions whose passages are looked up together: a look-up of ids is a pass over all ids of the corpus."""


def evaluate_answers(run: Iterable[TrecRanking], store: CorpusStore, split: str, names: list[str]) -> Evaluation:
    """Judge a run by the answers of the split's questions.

    Parameters
    ----------
    run
        Rankings; equal scores keep their order.
    names
        Metrics, ``Answer@20`` and so on.

    Returns
    -------
    1 or 0 per question. All questions of the split count, also those that the run lacks and those without an answer.

    Raises
    ------
    UserError
        If the split has no answers, or the run is empty or of other questions.
    """
    answers = store.answers(split)
    depths = {name: int(depth_of(name) or 0) for name in names}
    row = {query_id: i for i, query_id in enumerate(answers)}
    values = {name: np.zeros(len(row)) for name in names}
    matcher, seen, ignored, iterator = AnswerMatcher(store, answers), 0, 0, iter(run)
    while group := list(islice(iterator, QUESTIONS_AT_ONCE)):
        known = [ranking for ranking in group if ranking.query_id in row]
        seen, ignored = seen + len(known), ignored + len(group) - len(known)
        for ranking, passages in zip(known, _tops(known, store, max(depths.values()))):
            rank = matcher.first(ranking.query_id, passages)
            for name, depth in depths.items():
                values[name][row[ranking.query_id]] = float(rank is not None and rank <= depth)
    if not seen:
        raise UserError(
            "the run is empty, so there is nothing to judge; search again" if not ignored else "none of the run's queries is a question of the split"
        )
    return Evaluation(list(row), values, len(row) - seen, ignored)


def _tops(rankings: list[TrecRanking], store: CorpusStore, depth: int) -> list[np.ndarray]:
    """Rows of the best passages of each ranking, best first."""
    tops = [[ranking.ids[place] for place in np.argsort(-ranking.scores, kind="stable")[:depth].tolist()] for ranking in rankings]
    names = list(dict.fromkeys(name for top in tops for name in top))
    row_of = dict(zip(names, store.rows(names)))
    return [np.array([row_of[name] for name in top], np.int64) for top in tops]
