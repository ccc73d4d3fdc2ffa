"""What an experiment will cost, before anything runs: a table of jobs, GPU and CPU hours, disk and memory per stage.

    simlm plan --config config/msmarco.yaml
    simlm plan --config config/config.yaml --costs costs.yaml --accelerator v100

Needs no network and starts nothing. Constants are those of the machine on which the project was measured, or of --costs (see
`simlm calibrate`); GPU hours are estimated from the arithmetic and an assumed utilisation. `done` says which stages have left
their record; whether a change of configuration or code makes them run again is what `snakemake -n` says.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from simlm.commands.options import add_experiment_options, load_context, natural, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment_options(parser)
    parser.add_argument("--costs", type=Path, default=None, metavar="FILE", help="constants of a machine (default: those of the project)")
    parser.add_argument("--accelerator", default=None, metavar="NAME", help="GPU of the file of costs (default: its first)")
    parser.add_argument("--cores", type=positive, default=None, metavar="N", help="cores for the wall time (default: those of this machine)")
    parser.add_argument("--gpus", type=natural, default=None, metavar="N", help="GPUs for the wall time (default: the most that a job asks for)")
    parser.add_argument("--counts", nargs="+", default=[], metavar="NAME=N", help="size of the collection where it is not known: passages=N, <split>=N")


def run(arguments: argparse.Namespace) -> None:
    from simlm.hardware import available_cores
    from simlm.planning.costs import load_costs
    from simlm.planning.counts import count
    from simlm.planning.estimate import Planner
    from simlm.planning.table import render, wall_sentence

    context = load_context(arguments)
    costs = load_costs(arguments.costs)
    name, accelerator = costs.accelerator(arguments.accelerator)
    counts = count(context.experiment, context.paths, _counts(arguments.counts))
    planner = Planner(context.experiment, context.paths, counts, costs, accelerator)
    print(f"Plan of '{context.experiment.name}' ({context.paths.root}); every figure is an estimate.\n")
    print(render(planner, planner.stages(), name))
    print(wall_sentence(planner, arguments.cores or available_cores(), arguments.gpus))


def _counts(given: list[str]) -> dict[str, int]:
    from simlm.errors import UserError

    counts = {}
    for entry in given:
        name, _, number = entry.partition("=")
        if not number.isdecimal() or not int(number):
            raise UserError(f"--counts takes NAME=N with a whole number above 0, such as passages=100000, not '{entry}'")
        counts[name] = int(number)
    return counts
