"""Write a BEIR folder of synthetic text with the statistics of MS MARCO's passages, of any size, in little memory.

    python benchmarks/scale/synthetic_text.py --passages 100000 --folder /tmp/scale/100k

What is like the real collection, and where the figures come from:

* lengths: log-normal, 56 words on average (the collection's mean); the spread was measured on 33,600 of its passages;
* words: 31 % are one of Lucene's 33 stop words; the others follow the rank-frequency curve measured on the same passages,
  with a tail whose slope gives 2.6 million different words in 8.8 million passages (Anserini's index has 2.66 million terms).
  In 33,600 passages it gives 99 thousand; the measured ones, which are about few topics, have 60 thousand;
* queries: 502,939 for training with 1.06 relevant passages each, 6,980 (`dev`) and 43 (`dl`, 215 graded judgements each)
  per 8,841,823 passages; six words on average, a quarter of them stop words, the others from the relevant passage.

What is not: words are made up and independent of each other, so nothing can be learned from them and a WordPiece tokenizer
cuts them into too many pieces. The same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bm25s.stopwords import STOPWORDS_EN

FULL = 8_841_823
QUERIES = {"train": 502_939, "dev": 6_980, "dl": 43}
BLOCK = 4096
"""Passages drawn from one generator of random numbers."""
LENGTH_MEAN, LENGTH_SPREAD = 3.95, 0.39
"""Mean and standard deviation of the logarithm of a passage's number of words."""
STOP_SHARE, QUERY_STOP_SHARE, QUERY_WORDS = 0.306, 0.245, 6.0
CURVE = {1: 7.7e-3, 10: 3.9e-3, 100: 9.9e-4, 1_000: 1.86e-4, 10_000: 9.9e-6}
"""Frequency by rank among the words that are no stop words."""
TAIL_SLOPE, LAST_RANK = 1.69, 100_000_000
TABLE = 1 << 17
"""Words kept as strings; rarer ones are spelled when they are needed."""


class Words:
    """Draws words; the word of a rank is always the same.

    >>> words = Words()
    >>> words.spell(0), words.spell(12_345)
    ('bak', 'bagimak')
    """

    def __init__(self) -> None:
        knots = np.array([*CURVE, LAST_RANK], np.float64)
        last = max(CURVE)
        heights = np.array([*CURVE.values(), CURVE[last] * (LAST_RANK / last) ** -TAIL_SLOPE])
        # Inside a bin this narrow the words are as good as equally frequent on the logarithmic scale.
        self._log_rank = np.linspace(0, np.log(LAST_RANK), 4001)
        mass = np.exp(np.interp(self._log_rank, np.log(knots), np.log(heights)) + self._log_rank)
        self._share = np.concatenate([[0], np.cumsum((mass[1:] + mass[:-1]) / 2)])
        self._share /= self._share[-1]
        self.stop = np.array(sorted(STOPWORDS_EN), object)
        weights = 1 / np.arange(1, len(self.stop) + 1)
        self._stop_share = np.cumsum(weights / weights.sum())
        self._table = np.array([self.spell(rank) for rank in range(TABLE)], object)

    @staticmethod
    def spell(rank: int) -> str:
        """The word of a rank: syllables that no stemmer cuts, more of them the rarer it is."""
        syllables = []
        rank += 1
        while rank > 0:
            rank, place = divmod(rank - 1, 100)
            syllables.append("bcdfghjklmnprstvwxyz"[place // 5] + "aeiou"[place % 5])
        return "".join(reversed(syllables)) + "k"

    def draw(self, random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Words (objects, shape (count,)) and which of them are stop words."""
        stopped = random.random(count) < STOP_SHARE
        ranks = np.exp(np.interp(random.random(count), self._share, self._log_rank)).astype(np.int64) - 1
        words = self._table[np.minimum(ranks, TABLE - 1)]
        for place in np.flatnonzero(ranks >= TABLE).tolist():
            words[place] = self.spell(int(ranks[place]))
        words[stopped] = self.stop[np.searchsorted(self._stop_share, random.random(int(stopped.sum())))]
        return words, stopped


def passages(count: int, seed: int) -> Iterator[tuple[int, list[np.ndarray], list[np.ndarray]]]:
    """Blocks of passages: the first row, and for each passage its words and which of them are stop words."""
    words = Words()
    for first in range(0, count, BLOCK):
        random = np.random.default_rng([seed, first])
        size = min(BLOCK, count - first)
        lengths = np.clip(random.lognormal(LENGTH_MEAN, LENGTH_SPREAD, size).astype(np.int64), 8, 250)
        drawn, stopped = words.draw(random, int(lengths.sum()))
        borders = np.cumsum(lengths)[:-1]
        yield first, np.split(drawn, borders), np.split(stopped, borders)


def query_text(words: np.ndarray, stopped: np.ndarray, stop: np.ndarray, random: np.random.Generator) -> str:
    """A query for a passage: some of its words that are no stop words, and stop words between them."""
    length = max(2, round(random.normal(QUERY_WORDS, 2.5)))
    own = words[~stopped]
    chosen = random.choice(own if len(own) else words, length)
    chosen = np.where(random.random(length) < QUERY_STOP_SHARE, random.choice(stop[:10], length), chosen)
    return " ".join(chosen)


def positive_rows(split: str, queries: int, passages: int) -> np.ndarray:
    """The relevant passage of each query of a split, evenly over the corpus."""
    offset = list(QUERIES).index(split) / len(QUERIES)
    return ((np.arange(queries) + offset) * passages / queries).astype(np.int64)


def write(folder: Path, count: int, seed: int, queries: dict[str, int]) -> None:
    """Write corpus.jsonl, queries.jsonl and qrels/ in one pass."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    stop = np.array(sorted(STOPWORDS_EN), object)
    rows = {split: positive_rows(split, n, count) for split, n in queries.items()}
    files = {split: open(folder / "qrels" / f"{split}.tsv", "w") for split in queries}  # noqa: SIM115
    with open(folder / "corpus.jsonl", "w") as corpus, open(folder / "queries.jsonl", "w") as texts:
        for file in files.values():
            file.write("query-id\tcorpus-id\tscore\n")
        for first, block, stopped in passages(count, seed):
            corpus.writelines(f'{{"_id": "{first + i}", "title": "", "text": "{" ".join(words)}."}}\n' for i, words in enumerate(block))
            for split, own in rows.items():
                start, stop_at = np.searchsorted(own, [first, first + len(block)])
                for query in range(int(start), int(stop_at)):
                    row = int(own[query])
                    random = np.random.default_rng([seed, 1 + list(QUERIES).index(split), query])
                    name = f"{split}{query}"
                    texts.write(json.dumps({"_id": name, "text": query_text(block[row - first], stopped[row - first], stop, random)}) + "\n")
                    files[split].writelines(f"{name}\t{passage}\t{grade}\n" for passage, grade in judgements(split, row, count, random).items())
    for file in files.values():
        file.close()


def judgements(split: str, row: int, count: int, random: np.random.Generator) -> dict[int, int]:
    """Grades by passage: 1.06 relevant ones on average, or as in TREC DL 215 graded ones."""
    if split == "dl":
        return {int(passage): int(random.integers(0, 3)) for passage in random.integers(0, count, 214)} | {row: 3}
    return {row: 1, **({(row + 1) % count: 1} if random.random() < 0.06 else {})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--train-queries", type=int, default=None, help="default: in proportion to the passages")
    arguments = parser.parse_args()
    share = arguments.passages / FULL
    queries = {split: max(40, round(n * share)) if split != "dl" else n for split, n in QUERIES.items()}
    if arguments.train_queries:
        queries["train"] = arguments.train_queries
    write(arguments.folder, arguments.passages, arguments.seed, queries)


if __name__ == "__main__":
    main()
