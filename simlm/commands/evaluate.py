"""Judge the runs of an experiment, or one run by hand."""

from __future__ import annotations

import argparse
from pathlib import Path

from simlm.commands.stage import StageCommand
from simlm.stages import evaluate

STAGE = StageCommand(evaluate)
__doc__ = evaluate.__doc__


def add_arguments(parser: argparse.ArgumentParser) -> None:
    STAGE.add_arguments(parser)
    hand = parser.add_argument_group("one run by hand")
    hand.add_argument("--run", type=Path, metavar="FILE", help="TREC run, gzipped or not")
    hand.add_argument("--qrels", type=Path, metavar="FILE", help="judgements: TREC, BEIR, JSON lines, CSV or Parquet")
    hand.add_argument("--relevance", type=int, default=1, metavar="GRADE", help="least grade that counts as relevant; nDCG uses the grades (default: 1)")
    hand.add_argument("--mrr-relevance", type=int, default=None, metavar="GRADE", help="another least grade for RR alone")
    hand.add_argument(
        "--metrics",
        nargs="+",
        default=["RR@10", "R@50", "R@1000", "nDCG@10", "AP"],
        metavar="NAME",
        help="any usual names (default: %(default)s)",
    )
    hand.add_argument("--per-query", action="store_true", help="print the values of every query too")


def run(arguments: argparse.Namespace) -> int | None:
    return evaluate_by_hand(arguments) if arguments.run or arguments.qrels else STAGE.run(arguments)


def evaluate_by_hand(arguments: argparse.Namespace) -> None:
    """Print the metrics of one run file as ``metric  tab  value``."""
    from simlm.corpus.qrels import read_qrels
    from simlm.errors import UserError
    from simlm.evaluation.metrics import evaluate_run, parse_metrics
    from simlm.evaluation.numbers import figure
    from simlm.progress import say
    from simlm.runs.runs import read_trec_run

    if not (arguments.run and arguments.qrels):
        raise UserError("a run is judged by hand with both --run FILE and --qrels FILE")
    measures = parse_metrics(arguments.metrics, arguments.relevance, arguments.mrr_relevance)
    evaluation = evaluate_run(read_trec_run(arguments.run), read_qrels(arguments.qrels, say), measures)
    if arguments.per_query:
        for name, values in evaluation.values.items():
            for query_id, value in zip(evaluation.query_ids, values.tolist()):
                print(f"{query_id}\t{measures[name]}\t{figure(value)}")
    for name, value in evaluation.averages.items():
        print(f"{measures[name]}\t{figure(value)}")
    print(f"queries\t{len(evaluation.query_ids)}")
    if evaluation.missing:
        print(f"of which the run lacks\t{evaluation.missing}")
        say(f"caution: {evaluation.caution}")
