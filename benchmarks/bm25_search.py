"""BM25 search beside bm25s with numba, on made-up postings with the frequencies of MS MARCO's words: seconds, and whether they find the same.

    python benchmarks/bm25_search.py --passages 1000000 --threads 1 2

Words are drawn independently of each other along the curve of `scale/synthetic_text.py`, four or five per query as after the analyzer; real
queries, whose words occur together, are easier, because their best passages have more of them. Both take turns (A B A B …); medians and the
least are of processor time, which a busy machine disturbs less than wall time. Where numba cannot be imported it is left out.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import numpy as np
from scale.synthetic_text import TABLE, Words

from simlm.lexical.parallel import ordered_map
from simlm.lexical.postings import Postings

WORDS = 38
"""Different words of a passage."""


def made_up(passages: int, random: np.random.Generator) -> tuple[Postings, np.ndarray]:
    """Postings, and the share of each term among all words."""
    words = Words()
    edges = np.interp(np.log(np.arange(1, TABLE + 2)), words._log_rank, words._share)
    share = np.diff(edges)
    lists = [np.unique(random.integers(0, passages, count, dtype=np.int32)) for count in random.poisson(share * WORDS * passages)]
    lengths = np.array([len(rows) for rows in lists])
    rows = np.concatenate(lists)
    norm = (0.82 * (0.32 + 0.68 * random.lognormal(0, 0.39, passages))).astype(np.float32)
    times = random.geometric(0.8, len(rows)).astype(np.float32)
    idf = np.log1p((passages - lengths + 0.5) / (lengths + 0.5)).astype(np.float32)
    scores = np.repeat(idf, lengths) * times / (times + norm[rows])
    return Postings(scores, rows, np.concatenate([[0], np.cumsum(lengths)]), passages), share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--k", type=int, default=200)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    postings, share = made_up(arguments.passages, random)
    queries = [random.choice(len(share), random.integers(4, 6), p=share / share.sum()).tolist() for _ in range(arguments.queries)]
    touched = np.mean([sum(int(postings.starts[term + 1] - postings.starts[term]) for term in set(query)) for query in queries])
    print(f"{arguments.passages:,} passages, {len(postings):,} postings; a query has {touched / arguments.passages:.3f} postings per passage")

    def ours(threads: int) -> list[np.ndarray]:
        return [sums for _, sums in ordered_map(lambda query, space: postings.best(query, arguments.k, space), queries, threads, postings.space)]

    def theirs(threads: int) -> list[np.ndarray]:
        from bm25s.numba.retrieve_utils import _retrieve_numba_functional

        scores = {"data": postings.scores, "indices": postings.rows, "indptr": postings.starts, "num_docs": arguments.passages}
        asked = [np.array(query, np.int32) for query in queries]
        return list(_retrieve_numba_functional(asked, scores, k=arguments.k, n_threads=threads, show_progress=False)[1])

    searches = {"ours": ours, "bm25s with numba": theirs}
    try:
        theirs(1)
    except ImportError:
        del searches["bm25s with numba"]
    found = {name: search(arguments.threads[0]) for name, search in searches.items()}
    if len(found) > 1:
        same = [len(mine) == int((other > 0).sum()) and np.allclose(mine, other[: len(mine)], rtol=1e-5) for mine, other in zip(*found.values())]
        print(f"the same scores: {sum(same)} of {len(queries)} queries")
    print("| search | threads | CPU ms per query, median | least | wall ms, median | least |\n|---|---|---|---|---|---|")
    for threads in arguments.threads:
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in searches}
        for repeat in range(arguments.repeats + 1):
            for name, search in searches.items():
                start, wall = time.process_time(), time.perf_counter()
                search(threads)
                if repeat:  # the first time compiles
                    taken[name].append(((time.process_time() - start) / len(queries) * 1e3, (time.perf_counter() - wall) / len(queries) * 1e3))
        for name, times in taken.items():
            cpu, wall = zip(*times)
            print(f"| {name} | {threads} | {median(cpu):.2f} | {min(cpu):.2f} | {median(wall):.2f} | {min(wall):.2f} |")


if __name__ == "__main__":
    main()
