"""Start one simlm command in several processes that share its work, as torchrun does.

    python -m simlm.launch --processes 2 -- train --config config/smoke.yaml --model retriever1

``torchrun --nproc-per-node 2 -m simlm.cli train ...`` does the same; here the exit code is the command's own, and what
the command says is not drowned by torchrun's report.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import uuid


def main(argv: list[str] | None = None) -> int:
    """Run the command in all processes; returns 0, or the exit code of the process that failed first."""
    parser = argparse.ArgumentParser(prog="python -m simlm.launch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, required=True, metavar="N", help="how many")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="simlm command with its options, after --")
    arguments = parser.parse_args(argv)
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    # Port 0: several jobs of one machine must not meet each other.
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=arguments.processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.2,
        start_method="spawn",
    )
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        elastic_launch(config, sys.executable)("-m", "simlm.cli", *arguments.command)
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        if code < 0:
            print(f"simlm: a process of {arguments.command[0]} was ended by signal {-code}; the command goes on from what is saved", file=sys.stderr)
        return code if code > 0 else 128 - code
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
