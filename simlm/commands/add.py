"""Add passages to what is searched after an experiment, without training anything.

    simlm add new.jsonl --experiment pydocs
    simlm add new.jsonl more.jsonl --experiment pydocs --system distilled bm25
    simlm add --experiment pydocs --system bm25         (no passages: one more system shall find those that were added)

The passages are JSON lines with _id, text and perhaps title, as in BEIR's corpus.jsonl; TSV, CSV and Parquet serve too. What was evaluated
stays as it is: the larger collection lies beside it, in served/ of the experiment's results, and is what simlm search and serve ask from then
on (--evaluated asks the other). Nothing that was embedded in a full block is embedded again, and the vectors are the same bits as if all were.
"""

from __future__ import annotations

import argparse

from simlm.commands.options import add_experiment_options, load_context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``simlm add``."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="new passages, or - for what is piped in; ids must be new")
    add_experiment_options(parser)
    parser.add_argument(
        "--system",
        nargs="+",
        metavar="NAME",
        help="systems that shall find them, beside those that find earlier ones (default: these, or the last bi-encoder among the evaluated systems)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Add file after file."""
    context = load_context(arguments)
    from simlm.config.graph import headline_system
    from simlm.corpus.texts import as_file
    from simlm.errors import UserError
    from simlm.interactive.systems import kind_of
    from simlm.progress import say
    from simlm.served.add import add
    from simlm.served.collection import read_served

    for system in arguments.system or ():
        kind_of(context.experiment, system)
    served = read_served(context.paths)
    if not arguments.files and served is None:
        raise UserError(f"nothing was added to '{context.experiment.name}' yet; give a file of passages")
    systems = arguments.system or ([] if served else [headline_system(context.experiment)])
    for name in arguments.files or [None]:
        if name is None:
            about = add(context, None, systems)
        else:
            with as_file(name) as file:
                about = add(context, file, systems)
        say(
            f"{context.paths.served}: {about['passages']:,} passages, {about['added']:,} of them new, for {', '.join(about['systems'])}; "
            f"{about['seconds']:.1f} s. simlm search and serve ask these now."
        )
