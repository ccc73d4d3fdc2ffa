"""Exact search over the shards beside faiss' flat index, on random unit vectors: seconds, memory, and whether they find the same.

    python benchmarks/exact_search.py --passages 1000000 --threads 1

Both take turns (A B A B …), each in a process of its own, so that its memory is known; medians and the least are of processor time, which
a busy machine disturbs less than wall time. The index of faiss is filled before its clock starts; ours reads its shards within it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from simlm.indexes.from_shards import ShardedSearch
from simlm.vectors.vectors import Vectors

BLOCK = 65536


class Stored:
    """Vectors in a file, read block by block as those of the shards are."""

    def __init__(self, file: Path, dimension: int) -> None:
        self.file, self.dimension = file, dimension
        self.rows = file.stat().st_size // (4 * dimension)

    def blocks(self, size: int):
        with open(self.file, "rb") as stream:
            for first in range(0, self.rows, size):
                count = min(size, self.rows - first)
                yield first, Vectors(np.fromfile(stream, np.float32, count * self.dimension).reshape(count, self.dimension))


def unit(random: np.random.Generator, rows: int, dimension: int) -> np.ndarray:
    vectors = random.standard_normal((rows, dimension), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def measure(which: str, file: Path, arguments: argparse.Namespace) -> dict:
    """In a process of its own: search once."""
    import faiss

    faiss.omp_set_num_threads(arguments.threads)
    queries, stored = unit(np.random.default_rng(1), arguments.queries, arguments.dimension), Stored(file, arguments.dimension)
    if which == "faiss":
        index = faiss.IndexFlatIP(arguments.dimension)
        for _, block in stored.blocks(BLOCK):
            index.add(block.values)
    start, wall = time.process_time(), time.perf_counter()
    if which == "faiss":
        scores, _ = index.search(queries, arguments.k)
    else:
        _, scores = ShardedSearch(stored, BLOCK)(queries, arguments.k)
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    digest = hashlib.sha256(np.ascontiguousarray(scores, np.float32).tobytes()).hexdigest()
    return {"cpu": seconds, "wall": wall, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "scores": digest[:12]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=1024)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--k", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one[0], Path(arguments.one[1]), arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        file, random = Path(folder) / "vectors", np.random.default_rng(0)
        with open(file, "wb") as stream:
            for first in range(0, arguments.passages, BLOCK):
                stream.write(unit(random, min(BLOCK, arguments.passages - first), arguments.dimension).data)
        found: dict[str, list[dict]] = {"faiss": [], "shards": []}
        for _ in range(arguments.repeats):
            for which, results in found.items():
                command = [sys.executable, *sys.argv, "--one", which, str(file)]
                results.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]))
    print("| search | CPU s, median | least | wall s, median | peak rss MiB | digest of the scores |\n|---|---|---|---|---|---|")
    for which, results in found.items():
        seconds = [result["cpu"] for result in results]
        wall, mib, digests = median(result["wall"] for result in results), max(result["mib"] for result in results), {result["scores"] for result in results}
        print(f"| {which} | {median(seconds):.2f} | {min(seconds):.2f} | {wall:.2f} | {mib:,.0f} | {', '.join(sorted(digests))} |")
    ratios = [theirs["cpu"] / ours["cpu"] for theirs, ours in zip(*found.values())]
    print(f"times as fast as faiss: {median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})")


if __name__ == "__main__":
    main()
