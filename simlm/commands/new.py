"""Write a configuration for a folder of your own: what fits its passages, its judgements, the start and the time there is.

simlm new data/mine --base sentence-transformers/all-MiniLM-L6-v2 --budget 20m
simlm new data/mine

The folder holds passages, queries and judgements in BEIR's layout (docs/own-data.md). Every choice in the file says why.
"""

from __future__ import annotations

import argparse
import shlex
from itertools import takewhile
from pathlib import Path

from simlm.commands.options import natural, positive, typed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``simlm new``."""
    parser.add_argument("folder", metavar="FOLDER", help="corpus.jsonl, queries.jsonl and qrels/ (or tables of the same names)")
    parser.add_argument("--base", metavar="MODEL", help="start: a folder or a Hugging Face id, of a retriever or an encoder (default: everything from scratch)")
    parser.add_argument("--budget", default="20m", metavar="TIME", help="time from the first job to the last, such as 20m or 2h (default: 20m)")
    parser.add_argument("--no-reranker", action="store_true", help="train no re-ranker, even where there is time for one")
    parser.add_argument(
        "--no-made-queries", action="store_true", help="where there are no training queries, make none of the passages either: nothing is trained"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="the configuration (default: the folder's name, .yaml, here)")
    parser.add_argument("--name", help="name of the experiment (default: the folder's)")
    parser.add_argument("--cores", type=positive, metavar="N", help="cores to plan for (default: this machine's)")
    parser.add_argument("--gpus", type=natural, default=0, metavar="N", help="GPUs to plan for (default: none)")


def run(arguments: argparse.Namespace) -> None:
    """Look, choose, write; nothing is trained."""
    from simlm.config.load import before_running
    from simlm.errors import UserError
    from simlm.files import write_text
    from simlm.hardware import available_cores
    from simlm.proposal import base as bases
    from simlm.proposal import data as datas
    from simlm.proposal.budget import minutes, seconds
    from simlm.proposal.write import name_of, propose

    budget = seconds(arguments.budget)
    name = arguments.name or name_of(arguments.folder)
    output = arguments.output or Path(f"{name}.yaml")
    if output.exists():
        raise UserError(f"{output} exists already; give another file with --output, or remove it")
    base = bases.look(arguments.base) if arguments.base else bases.scratch()
    data = datas.look(Path(arguments.folder).expanduser(), base.tokens, base.foreign)
    if not arguments.no_made_queries:
        data = datas.with_made_queries(data)
    found = propose(data, base, name, budget, arguments.cores or available_cores(), arguments.gpus, not arguments.no_reranker)
    cautions = before_running(found.experiment)
    write_text(output, found.text)
    comments = [line.removeprefix("# ") for line in takewhile(lambda line: line.startswith("#"), found.text.splitlines())]
    print("\n".join(comments[1:]))
    for sentence in cautions:
        print(f"caution: {sentence}")
    print(f"\nWrote {output}: {', '.join(found.experiment.evaluate.systems)}, about {minutes(found.fit.wall)}. Next:")
    cores, file = arguments.cores or available_cores(), shlex.quote(str(output))
    print(f"  {typed('snakemake')} --cores {cores} --configfile {file} -- all\n  {typed('simlm')} summary --experiment {shlex.quote(name)}")
