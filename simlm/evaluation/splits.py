"""A run judged on a split of the corpus, by judged passages or by answers, as each metric asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from simlm.config.metrics import by_answers
from simlm.errors import UserError
from simlm.evaluation.answers import evaluate_answers
from simlm.evaluation.metrics import Evaluation, evaluate_run, parse_metrics
from simlm.runs.runs import TrecRanking

if TYPE_CHECKING:
    from simlm.config.experiment import EvaluatedSplit
    from simlm.corpus.store import CorpusStore


def evaluate_split(
    run: Callable[[], Iterable[TrecRanking]], store: CorpusStore, split: str, metrics: list[str], level: EvaluatedSplit | None = None
) -> tuple[Evaluation, dict[str, str]]:
    """Judge a run by metrics of canonical names.

    Parameters
    ----------
    run
        Gives the rankings; called once for judged passages, once for answers.
    level
        Relevance levels of the split; None: 1.

    Returns
    -------
    The evaluation, its values in the order of ``metrics``, and each metric as it was computed (with its relevance level).

    Raises
    ------
    UserError
        If no judgement of the split is high enough, so that all systems would have 0.
    """
    judged, answered = [name for name in metrics if not by_answers(name)], [name for name in metrics if by_answers(name)]
    if judged:
        _require_relevant(store, split, level)
    measures = parse_metrics(judged, *((level.relevance, level.mrr_relevance) if level else ()))
    found = [evaluate_run(run(), store.qrels(split), measures)] if judged else []
    found += [evaluate_answers(run(), store, split, answered)] if answered else []
    # Where there are both, all queries are judged and in one order.
    values = {name: one.values[name] for name in metrics for one in found if name in one.values}
    return Evaluation(found[0].query_ids, values, found[0].missing, found[0].ignored), {name: str(measures.get(name, name)) for name in metrics}


def _require_relevant(store: CorpusStore, split: str, level: EvaluatedSplit | None) -> None:
    least = level.relevance if level else 1
    if not any(grade >= least for judged in store.qrels(split).values() for grade in judged.values()):
        raise UserError(
            f"the split '{split}' judges no passage with a grade of {least} or more, so that there is nothing to find; "
            f"lower evaluate.splits.{split}.relevance, or leave the split out"
        )
