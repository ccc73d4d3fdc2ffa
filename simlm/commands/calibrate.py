"""Measure what this machine needs for one unit of each kind of work, for `simlm plan`.

    simlm calibrate --output costs.yaml
    simlm plan --config config/msmarco.yaml --costs costs.yaml

Takes a minute or two. CPU time is measured, with one thread, so that other work on the machine changes little. Accelerators are
not measured: their entries (data sheet and an assumed utilisation) are copied from --costs and can be edited in the file.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, default=Path("costs.yaml"), metavar="FILE", help="file to write (default: %(default)s)")
    parser.add_argument("--costs", type=Path, default=None, metavar="FILE", help="costs whose accelerators are kept (default: those of the project)")


def run(arguments: argparse.Namespace) -> None:
    import yaml

    from simlm.files import write_text
    from simlm.planning.calibrate import calibrate
    from simlm.planning.costs import load_costs
    from simlm.progress import say

    found = calibrate(load_costs(arguments.costs))
    write_text(arguments.output, "# Written by `simlm calibrate`; CPU seconds per unit of work.\n" + yaml.safe_dump(found, sort_keys=False, width=160))
    say(f"{arguments.output}: {found['machine']}.")
