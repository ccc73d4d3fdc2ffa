"""Options that the commands share."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from simlm.context import Context
from simlm.errors import UserError, nearest

if TYPE_CHECKING:
    from simlm.served.collection import Collection


def add_experiment_options(parser: argparse.ArgumentParser) -> None:
    """``--config FILE …`` (or ``--configfile``, Snakemake's word for it) or ``--experiment NAME``."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--config",
        "--configfile",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="configuration files, later ones laid over earlier ones (default: config/config.yaml)",
    )
    group.add_argument("--experiment", metavar="NAME", help="name of an experiment that has run; its resolved configuration is read from the results")
    parser.add_argument("--results", type=Path, default=None, metavar="FOLDER", help="folder of the results (default: the configuration's, or results)")


def typed(program: str) -> str:
    """How a program of this environment is called from here: ``.venv/bin/snakemake`` where the environment lies below, else by its name alone."""
    path = Path(sys.executable).parent / program
    return shlex.quote(os.path.relpath(path)) if path.is_relative_to(Path.cwd()) else program


def positive(text: str) -> int:
    """A number of cores, threads or texts, as argparse reads one: 1 or more.

    >>> positive("2")
    2
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"give a whole number from 1 on, not {text!r}")
    return int(text)


def natural(text: str) -> int:
    """A number of GPUs, as argparse reads one: 0 or more.

    >>> natural("0")
    0
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"give a whole number from 0 on, not {text!r}")
    return int(text)


def load_context(arguments: argparse.Namespace) -> Context:
    """Resolve the options of :func:`add_experiment_options`."""
    from simlm.config import load_experiment
    from simlm.paths import Paths

    experiment = load_experiment(*files_of(arguments))
    return Context(experiment, Paths((arguments.results or Path(experiment.results)) / experiment.name))


def files_of(arguments: argparse.Namespace) -> list[Path]:
    """The configuration files that the options of :func:`add_experiment_options` name."""
    from simlm.config.experiment import NAME

    if arguments.experiment:
        results = arguments.results or Path("results")
        if not re.fullmatch(NAME, arguments.experiment):
            raise UserError(f"'{arguments.experiment}' is not the name of an experiment, which has letters, digits, '_' and '-'; --results names the folder")
        file = results / arguments.experiment / "config.yaml"
        if not file.exists():
            there = sorted(path.parent.name for path in results.glob("*/config.yaml"))
            have = f" (there are {', '.join(there)})" if there else " (none has run yet; `make all` runs the default)"
            raise UserError(f"no experiment is called '{arguments.experiment}' below {results}{nearest(arguments.experiment, there)}{have}")
        return [file]
    return arguments.config or [Path("config/config.yaml")]


def say_added(collection: Collection) -> None:
    """Say that passages are searched which the evaluation knows nothing of."""
    if collection.added:
        from simlm.progress import say

        say(f"{len(collection.store):,} passages, of which {collection.added:,} were added after the evaluation (--evaluated leaves them out).")
