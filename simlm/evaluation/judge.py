"""The evaluation of all systems and splits of an experiment."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from simlm.config.metrics import spoken_metric
from simlm.corpus.store import CorpusStore
from simlm.errors import UserError
from simlm.evaluation.files import write_evaluation
from simlm.evaluation.metrics import Evaluation
from simlm.evaluation.numbers import figure
from simlm.evaluation.splits import evaluate_split
from simlm.files import sha256_file
from simlm.hardware import available_cores
from simlm.progress import say
from simlm.runs.runs import read_trec_run

if TYPE_CHECKING:
    from simlm.config.experiment import Evaluate
    from simlm.paths import Paths


def evaluate_systems(paths: Paths, settings: Evaluate, systems: list[str], splits: list[str]) -> dict[tuple[str, str], Evaluation]:
    """Judge ``runs/<system>/<split>.trec`` with the corpus's qrels, several at once; returns the evaluations by (system, split).

    ``evaluation/<system>/<split>.json`` holds ``system``, ``split``, ``metrics`` (configured name → average),
    ``measures`` (configured name → ir-measures name with its relevance level), ``relevance``, ``mrr_relevance``,
    ``n_queries``, ``missing_queries``, ``ignored_queries`` and ``run_sha256``.
    """
    tasks = [(system, split) for split in splits for system in systems]
    workers = min(available_cores(), len(tasks))
    judge = partial(_judge, paths, settings)
    evaluations = {}
    with ProcessPoolExecutor(workers) if workers > 1 else nullcontext() as pool:
        for (system, split), evaluation in zip(tasks, (pool.map if pool else map)(judge, *zip(*tasks))):
            evaluations[system, split] = evaluation
            say(f"{system} on {split}: " + ", ".join(f"{spoken_metric(name)} {figure(value)}" for name, value in evaluation.averages.items()))
    return evaluations


def _judge(paths: Paths, settings: Evaluate, system: str, split: str) -> Evaluation:
    """Judge one run and write its files."""
    level, run = settings.splits[split], paths.run(system, split)
    try:
        evaluation, measures = evaluate_split(lambda: read_trec_run(run), CorpusStore(paths.corpus), split, settings.metrics, level)
    except UserError as error:
        raise UserError(str(error) if str(run) in str(error) else f"{run}: {error}") from None
    facts = {
        "system": system,
        "split": split,
        "relevance": level.relevance,
        "mrr_relevance": level.mrr_relevance,
        "measures": measures,
        "run_sha256": sha256_file(run),
    }
    write_evaluation(paths.metrics(system, split), paths.per_query(system, split), evaluation, facts)
    return evaluation
