"""Answer one query with a system of an experiment that has run.

    simlm search --experiment pydocs "swap two columns of a sparse matrix"
    simlm search --experiment pydocs --system bm25 -k 5 --json "swap two columns"

Every kind of system answers: bm25, bi-encoders, re-rankers (which re-rank their candidates) and fusions.
"""

from __future__ import annotations

import argparse

from simlm.commands.options import add_experiment_options, load_context, say_added


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment_options(parser)
    parser.add_argument("query", nargs="+", help="what you are looking for")
    parser.add_argument("--system", metavar="NAME", help="which system answers (default: the last bi-encoder among the evaluated systems)")
    parser.add_argument("--evaluated", action="store_true", help="ask the evaluated passages alone, without those that simlm add has added")
    parser.add_argument("-k", type=int, default=10, metavar="N", help="passages to show (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON for programs, with the whole passages")


def run(arguments: argparse.Namespace) -> None:
    context = load_context(arguments)
    from simlm.config.graph import headline_system
    from simlm.interactive.systems import Systems, kind_of

    system = arguments.system or headline_system(context.experiment)
    kind_of(context.experiment, system)
    systems = Systems(context, arguments.evaluated)
    say_added(systems.collection)
    answer = systems.answer(system, " ".join(arguments.query), arguments.k)
    if arguments.json:
        import json

        print(json.dumps(answer.as_json(), ensure_ascii=False, indent=2))
        return
    from simlm.interactive.table import print_answer

    print_answer(answer)
