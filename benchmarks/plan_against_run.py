"""What `simlm plan` says of an experiment against what its run took, by Snakemake's benchmark files.

    python benchmarks/plan_against_run.py --config config/smoke.yaml

CPU time and largest memory per kind of stage; shards and models of a kind are added up. Snakemake samples a process now and then,
so that its CPU time of a short job misses the end.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

from simlm.commands.options import add_experiment_options, load_context
from simlm.planning.costs import load_costs
from simlm.planning.counts import count
from simlm.planning.estimate import Planner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_experiment_options(parser)
    parser.add_argument("--costs", type=Path, default=None)
    arguments = parser.parse_args()
    context = load_context(arguments)
    costs = load_costs(arguments.costs)
    planner = Planner(context.experiment, context.paths, count(context.experiment, context.paths), costs, costs.accelerator(None)[1])
    planned, measured = defaultdict(lambda: [0.0, 0.0]), defaultdict(lambda: [0.0, 0.0])
    for stage in planner.stages():
        add(planned[stage.stage.partition(".")[0]], stage.cpu, stage.memory / 2**20)
    for file in sorted((context.paths.root / "benchmarks").glob("*.jsonl")):
        run = json.loads(file.read_text().splitlines()[-1])
        add(measured[file.stem.partition(".")[0]], run["cpu_time"], run["max_rss"])
    print("| stages | planned CPU s | measured | planned MiB | measured |\n|---|---|---|---|---|")
    total = [0.0, 0.0]
    for stage, (cpu, memory) in planned.items():
        if stage in measured:
            print(f"| {stage} | {cpu:.1f} | {measured[stage][0]:.1f} | {memory:.0f} | {measured[stage][1]:.0f} |")
            total = [total[0] + cpu, total[1] + measured[stage][0]]
    print(f"| all | {total[0]:.0f} | {total[1]:.0f} | | |")


def add(entry: list[float], cpu: float, memory: float) -> None:
    entry[0] += cpu
    entry[1] = max(entry[1], memory)


if __name__ == "__main__":
    main()
