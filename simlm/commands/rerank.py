"""Re-rank a system's runs with a cross-encoder, on all evaluated splits.

    simlm rerank --config config/smoke.yaml --model reranker

The top `rerank_depth` passages of the candidates (`rerank`, or the system its negatives come from) get the
cross-encoder's logit; the others keep their order below them. Runs go to results/<experiment>/runs/<model>.
"""

from __future__ import annotations

import argparse

from simlm.commands.options import add_experiment_options, load_context, model_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment_options(parser)
    parser.add_argument("--model", required=True, metavar="NAME", help="cross-encoder of the graph")


def run(arguments: argparse.Namespace) -> None:
    context = load_context(arguments)
    model_of(context, arguments.model, "crossencoder")
    from simlm.retrieval.rerank import rerank

    rerank(context, arguments.model)
