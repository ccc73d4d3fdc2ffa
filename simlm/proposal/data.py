"""What a folder of passages, queries and judgements holds, in figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from simlm.config.corpora import BeirFolder, CorpusBlock, HubDataset, MadeQueries
from simlm.corpus.hub import JUDGED
from simlm.corpus.prepare import open_source
from simlm.corpus.qrels import ENDINGS
from simlm.errors import UserError
from simlm.lexical.made_queries import fit_share
from simlm.proposal.language import is_code, language_of

READ = 500_000
"""Passages that are looked at; of a larger corpus the rest is counted."""

SAMPLE = 2_000
"""Texts whose tokens are counted, evenly taken from what is read."""

ABSENT = 0.05
"""Share of a split's judgements whose passages the corpus may lack; a split with more belongs to another corpus."""

TRAIN, DEV = ("train", "training"), ("dev", "valid", "validation", "val", "development")
"""Names of splits that are trained on, and that choices are made on."""

_WORD = re.compile(r"[^\W\d_]{3,}")

Tokens = Callable[[str], int]
"""Tokens of a text, special ones aside."""


@dataclass(frozen=True)
class SplitFacts:
    """One split.

    Attributes
    ----------
    file
        Name of its judgements, without ending.
    queries, judgements, relevant
        Queries with a text and a relevant passage, judgements, and those with a grade above 0.
    grades
        The highest grade.
    own
        Queries whose id is the id of a passage.
    absent
        Share of the judged passages that the corpus lacks.
    """

    file: str
    queries: int
    judgements: int
    relevant: int
    grades: int
    own: int
    absent: float

    @property
    def per_query(self) -> float:
        return self.relevant / max(1, self.queries)


@dataclass(frozen=True)
class Data:
    """A folder.

    Attributes
    ----------
    block
        The ``corpus:`` block that reads it, with the splits that can be used.
    passages
        Their number; ``partly`` if only the first ones were looked at.
    words, tokens
        Mean words of a passage with its title; tokens of passages by percentile.
    titled
        Share of the passages that have a title.
    query_tokens
        Tokens of queries by percentile.
    splits
        Name → facts, ``train`` first.
    left_out
        Sentences about splits that cannot be used.
    fit
        Shares of the passages whose title, or whose first sentence, is fit to be asked for them.
    foreign
        Share of the words that the start's vocabulary does not know.
    """

    block: CorpusBlock
    passages: int
    partly: bool
    words: float
    tokens: dict[int, int]
    mean_tokens: float
    titled: float
    query_tokens: dict[int, int]
    splits: dict[str, SplitFacts]
    left_out: list[str]
    language: str | None
    code: bool
    fit: dict[str, float]
    foreign: float

    @property
    def train(self) -> SplitFacts | None:
        return self.splits.get("train")

    @property
    def made(self) -> MadeQueries | None:
        """How the training queries are made, where they are made of the passages."""
        return self.block.made_queries

    @property
    def dev(self) -> str | None:
        return "dev" if "dev" in self.splits else None

    @property
    def judged(self) -> list[str]:
        """Splits to judge: all but ``train``."""
        return [name for name in self.splits if name != "train"]


TITLED = 0.5
"""Share of the passages that must have a fit title for titles to be what queries are made of."""

KEPT = 0.9
"""Share of the fit titles or first sentences that usually find their passage again."""

FEWEST = 0.01
"""Share of the passages that must have something fit, so that queries are made at all."""


def with_made_queries(data: Data) -> Data:
    """The same folder with training queries that are made of its passages; as it is where it has a split ``train`` of its own, or nothing to make them of."""
    query = "title" if data.fit["title"] >= TITLED else max(data.fit, key=lambda name: (data.fit[name], name == "first_sentence"))
    if data.train is not None or data.fit[query] < FEWEST:
        return data
    made = MadeQueries(query=query, parts={"train": 1.0})
    queries = round(KEPT * min(data.passages, made.passages or data.passages) * data.fit[query])
    train = SplitFacts("", queries, queries, queries, 1, 0, 0.0)
    return replace(data, block=data.block.model_copy(update={"made_queries": made}), splits={"train": train, **data.splits})


PERCENTILES = (50, 75, 90, 95, 99)


def look(folder: Path, tokens: Tokens, foreign: Callable[[str], bool] = lambda word: False) -> Data:
    """Read a folder in BEIR's layout, or one of tables (JSON lines, CSV, TSV, Parquet), and count.

    Raises
    ------
    UserError
        If there is no corpus or no judgement, or at the first malformed line.
    """
    block = _block(folder)
    collection = open_source(block)
    ids: set[str] = set()
    taken: list[tuple[str, str]] = []
    titled = words = total = 0
    step = 1
    stream = iter(collection.passages)
    for number, (name, title, text) in enumerate(islice(stream, READ)):
        ids.add(str(name))
        titled += bool(title)
        words += len(text.split()) + len(title.split())
        total += 1
        if number % step == 0:
            taken.append((title, text))
            if len(taken) > 2 * SAMPLE:
                taken, step = taken[::2], step * 2
    partly = (rest := sum(1 for _ in stream)) > 0
    if not total:
        raise UserError(f"{folder} holds no passages; put them into corpus.jsonl, one object a line with _id, title and text")
    texts = [f"{title} {text}".strip() for title, text in taken]
    lengths = sorted(map(tokens, texts))
    splits, left_out, query_texts = _splits(collection.splits, ids, partly, block)
    if not splits:
        raise UserError(f"{folder}: no split can be used ({'; '.join(left_out)}); add judgements of passages that the corpus has")
    asked = sorted(tokens(text) for text in query_texts[:: max(1, len(query_texts) // SAMPLE)])
    block = block.model_copy(update={"splits": {name: split.file for name, split in splits.items()}})
    return Data(
        block, total + rest, partly, words / total, _percentiles(lengths), sum(lengths) / len(lengths), titled / total, _percentiles(asked), splits, left_out,
        language_of(texts[:SAMPLE]), is_code(texts[:SAMPLE]),
        {query: fit_share(taken, MadeQueries(query=query)) for query in ("title", "first_sentence")}, _foreign(texts, foreign),
    )  # fmt: skip


def _foreign(texts: list[str], foreign: Callable[[str], bool]) -> float:
    """Share of the words of at least three letters, of some thousand, that a vocabulary does not know."""
    words = [word for text in texts[:: max(1, len(texts) // 200)] for word in _WORD.findall(text)[:50]]
    return sum(map(foreign, words)) / max(1, len(words))


def _percentiles(values: list[int]) -> dict[int, int]:
    return {percent: values[min(len(values) - 1, len(values) * percent // 100)] for percent in PERCENTILES}


def _block(folder: Path) -> CorpusBlock:
    if not folder.is_dir():
        raise UserError(f"the folder {folder} does not exist; it must hold corpus.jsonl, queries.jsonl and qrels/")
    judged = next((folder / name for name in JUDGED if (folder / name).is_dir()), None)
    stems = sorted({_stem(file.name) for file in judged.iterdir() if _stem(file.name)}) if judged else []
    if not stems:
        raise UserError(f"{folder} has no judgements; put <split>.tsv (query id, passage id, grade) into {folder / JUDGED[0]}")
    plain = all(any((folder / f"{name}.jsonl{end}").is_file() for end in ("", ".gz")) for name in ("corpus", "queries"))
    splits = {_role(stem): stem for stem in stems}
    if plain:
        return BeirFolder(source="beir", path=str(folder), splits=splits)
    return HubDataset(source="hub", id=str(folder), splits=splits)


def _stem(name: str) -> str:
    """Name of a split's file without its ending and the hub's number of a shard; empty for other files.

    >>> _stem("dev.tsv"), _stem("test-00000-of-00001.parquet"), _stem("README.md")
    ('dev', 'test', '')
    """
    ending = next((ending for ending in sorted(ENDINGS, key=len, reverse=True) if name.endswith(ending)), None)
    return "" if ending is None or name.startswith(".") else re.sub(r"-\d+-of-\d+$", "", name.removesuffix(ending))


def _role(stem: str) -> str:
    """Name of a split: what is trained on is ``train``, what choices are made on is ``dev``; others keep theirs, in letters that a file's name may have."""
    lower = stem.lower()
    return "train" if lower in TRAIN else "dev" if lower in DEV else re.sub(r"[^A-Za-z0-9_-]", "-", stem).strip("-_") or "split"


def _splits(found: dict[str, Any], ids: set[str], partly: bool, block: Any) -> tuple[dict[str, SplitFacts], list[str], list[str]]:
    splits, left_out, texts = {}, [], []
    # The splits of a folder share one file of queries.
    queries = {str(query): text for query, text in next(iter(found.values())).queries if isinstance(text, str) and text.strip()}
    for name, split in sorted(found.items(), key=lambda one: (one[0] != "train", one[0] != "dev", one[0])):
        facts, asked = _facts(block.splits[name], split.qrels, queries, ids)
        if not facts.queries:
            left_out.append(f"{facts.file}: none of its judged queries has a text and a passage of a grade above 0")
        elif not partly and facts.absent > ABSENT:
            left_out.append(f"{facts.file}: the corpus lacks {facts.absent:.0%} of its judged passages")
        else:
            splits[name] = facts
            texts += [queries[query] for query in asked]
    return splits, left_out, texts


def _facts(file: str, qrels: Iterable[tuple[Any, Any, Any]], queries: dict[str, str], ids: set[str]) -> tuple[SplitFacts, list[str]]:
    answered: dict[str, None] = {}
    total = relevant = grades = absent = 0
    for query, passage, grade in qrels:
        value = float(grade)
        total += 1
        absent += str(passage) not in ids
        if str(query) in queries and value > 0:
            answered[str(query)] = None
            relevant += 1
            grades = max(grades, int(value))
    own = sum(query in ids for query in answered)
    return SplitFacts(file, len(answered), total, relevant, grades, own, absent / max(1, total)), list(answered)
