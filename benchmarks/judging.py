"""Judging a TREC run from its file beside pytrec_eval, which ir-measures uses too: seconds of both, and whether their figures are equal.

    python benchmarks/judging.py --queries 4000 --depth 1000

Both read the file and compute RR@10, R@50, R@1000, nDCG@10 and AP, taking turns (A B A B …); medians and the least are of processor time,
which a busy machine disturbs less than wall time. RR has no cut in pytrec_eval, so that its figure is not compared.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

import numpy as np
import pytrec_eval

from simlm.evaluation.metrics import evaluate_run, parse_metrics
from simlm.runs.runs import read_trec_run

NAMES = {"R@50": "recall_50", "R@1000": "recall_1000", "nDCG@10": "ndcg_cut_10", "AP": "map"}


def write_run(file: Path, queries: int, depth: int) -> dict[str, dict[str, int]]:
    """Write a made-up run; returns judgements, of which half are of passages of the run."""
    random, qrels = np.random.default_rng(0), {}
    with open(file, "w") as stream:
        for query in range(1_000_000, 1_000_000 + queries):
            ids, scores = random.permutation(depth * 50)[: depth + 3], -np.sort(-random.random(depth, np.float32) * 50)
            stream.writelines(f"{query} Q0 {name} {rank} {score!r} bm25\n" for rank, (name, score) in enumerate(zip(ids.tolist(), scores.tolist()), 1))
            judged = [*ids[np.minimum(random.geometric(0.02, 3), depth) - 1].tolist(), *ids[depth:].tolist()]
            qrels[str(query)] = {str(name): int(grade) for name, grade in zip(judged, random.integers(0, 4, len(judged)))}
    return qrels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=4000)
    parser.add_argument("--depth", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.trec"
        qrels = write_run(file, arguments.queries, arguments.depth)

        def ours() -> dict[str, float]:
            return evaluate_run(read_trec_run(file), qrels, parse_metrics(["RR@10", *NAMES])).averages

        def theirs() -> dict[str, float]:
            with open(file) as stream:
                run = pytrec_eval.parse_run(stream)
            found = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank", "recall.50,1000", "ndcg_cut.10", "map"}).evaluate(run)
            return {name: mean(values[own] for values in found.values()) for name, own in NAMES.items()}

        taken: dict[Callable[[], dict[str, float]], list[float]] = {ours: [], theirs: []}
        averages = [judge() for judge in taken]  # imports are done afterwards
        for _ in range(arguments.repeats):
            for judge, seconds in taken.items():
                start = time.process_time()
                judge()
                seconds.append(time.process_time() - start)
    print(f"{arguments.queries * arguments.depth:,} lines; equal figures: {all(np.isclose(averages[0][name], averages[1][name]) for name in NAMES)}")
    print("| judged by | CPU s, median | least |\n|---|---|---|")
    for name, seconds in zip(("simlm", "pytrec_eval"), taken.values()):
        print(f"| {name} | {median(seconds):.2f} | {min(seconds):.2f} |")
    print(f"times as fast: {median(theirs / ours for ours, theirs in zip(*taken.values())):.2f}")


if __name__ == "__main__":
    main()
