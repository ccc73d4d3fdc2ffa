"""Judge runs with ir-measures: per query and on average.

With a configuration, all evaluated systems and splits are judged in one go:
    simlm evaluate --config config/config.yaml
    simlm evaluate --experiment pydocs --systems bm25 distilled --splits test
Any TREC run can be judged by hand (judgements in TREC or BEIR form):
    simlm evaluate --run BM25.dl19.trec --qrels dl19.tsv --relevance 2 --metrics nDCG@10 RR@10
Passages with equal scores keep the order of the run file; judged queries that the run lacks count as zero.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from simlm.commands.options import add_experiment_options, load_context

if TYPE_CHECKING:
    from simlm.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment_options(parser)
    parser.add_argument("--systems", nargs="+", metavar="SYSTEM", help="judge only these of the evaluated systems")
    parser.add_argument("--splits", nargs="+", metavar="SPLIT", help="judge only these of the evaluated splits")
    hand = parser.add_argument_group("one run by hand")
    hand.add_argument("--run", type=Path, metavar="FILE", help="TREC run")
    hand.add_argument("--qrels", type=Path, metavar="FILE", help="judgements")
    hand.add_argument("--relevance", type=int, default=1, metavar="GRADE", help="least grade that counts as relevant; nDCG uses the grades (default: 1)")
    hand.add_argument("--mrr-relevance", type=int, default=None, metavar="GRADE", help="another least grade for RR alone")
    hand.add_argument(
        "--metrics", nargs="+", default=["RR@10", "R@50", "R@1000", "nDCG@10", "AP"], metavar="NAME", help="ir-measures names (default: %(default)s)"
    )
    hand.add_argument("--per-query", action="store_true", help="print the values of every query too")


def run(arguments: argparse.Namespace) -> None:
    if arguments.run or arguments.qrels:
        evaluate_by_hand(arguments)
    else:
        evaluate_experiment(load_context(arguments), arguments.systems, arguments.splits)


def evaluate_by_hand(arguments: argparse.Namespace) -> None:
    """Print the metrics of one run file as ``metric  tab  value``."""
    from simlm.corpus.qrels import read_qrels
    from simlm.errors import UserError
    from simlm.evaluation.metrics import evaluate_run, parse_metrics
    from simlm.progress import say
    from simlm.runs.runs import read_trec_run

    if not (arguments.run and arguments.qrels):
        raise UserError("a run is judged by hand with both --run FILE and --qrels FILE")
    measures = parse_metrics(arguments.metrics, arguments.relevance, arguments.mrr_relevance)
    evaluation = evaluate_run(read_trec_run(arguments.run), read_qrels(arguments.qrels, say), measures)
    if arguments.per_query:
        for name, values in evaluation.values.items():
            for query_id, value in zip(evaluation.query_ids, values.tolist()):
                print(f"{query_id}\t{measures[name]}\t{value:.4f}")
    for name, value in evaluation.averages.items():
        print(f"{measures[name]}\t{value:.4f}")
    print(f"queries\t{len(evaluation.query_ids)}")
    if evaluation.missing:
        print(f"of which the run lacks\t{evaluation.missing}")


def evaluate_experiment(context: Context, systems: list[str] | None, splits: list[str] | None) -> None:
    """Judge the runs of an experiment and write averages, values per query and the record."""
    from simlm.evaluation.stage import evaluate_systems
    from simlm.records.record import StageRecord

    settings, paths = context.experiment.evaluate, context.paths
    systems, splits = _chosen(systems, settings.systems, "evaluated system"), _chosen(splits, list(settings.splits), "evaluated split")
    inputs = {f"{system}/{split}": paths.run(system, split) for system in systems for split in splits}
    _all_there(inputs)
    block = {"systems": systems, "splits": {split: settings.splits[split].model_dump() for split in splits}, "metrics": settings.metrics}
    with StageRecord(paths.record("evaluate"), "evaluate", block, {"corpus": paths.corpus / "manifest.json", **inputs}) as record:
        for (system, split), averages in evaluate_systems(paths, settings, systems, splits).items():
            record.metrics |= {f"{split}/{system}/{name}": value for name, value in averages.items()}
            record.outputs |= {f"{system}/{split}": paths.metrics(system, split), f"{system}/{split}/per_query": paths.per_query(system, split)}


def _chosen(wanted: list[str] | None, there: list[str], what: str) -> list[str]:
    from simlm.errors import UserError, nearest

    for name in wanted or []:
        if name not in there:
            raise UserError(f"no {what} is called '{name}'{nearest(name, there)} (there are {', '.join(there)})")
    return [name for name in there if wanted is None or name in wanted]


def _all_there(runs: dict[str, Path]) -> None:
    from simlm.errors import UserError

    for name, path in runs.items():
        if not path.exists():
            system, split = name.split("/")
            raise UserError(
                f"{path} does not exist: the system '{system}' has not searched the split '{split}' yet; run its search first (or all of it with snakemake)"
            )
