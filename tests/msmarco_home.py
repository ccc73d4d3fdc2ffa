"""A small MS MARCO in its true layout: the files that ir_datasets looks for in its home, with the official names and forms.

Texts are made of few words, so that a passage, its title and its queries share some; a few passages have the broken
encoding that the real collection is known for. Ids are those of real data: passages count from 0, queries do not.
"""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

THINGS = [
    "river",
    "mountain",
    "bank",
    "engine",
    "cell",
    "border",
    "treaty",
    "vitamin",
    "battery",
    "comet",
    "glacier",
    "harbor",
    "violin",
    "enzyme",
    "senate",
    "orchid",
]
VERBS = [
    "flows",
    "grows",
    "stores",
    "burns",
    "divides",
    "protects",
    "ends",
    "heals",
    "charges",
    "orbits",
    "melts",
    "trades",
    "sings",
    "eats",
    "votes",
    "blooms",
]
PLACES = ["Türkiye", "München", "Curaçao", "Alberta", "Kansas", "Norway", "Brazil", "Kenya"]
PASSAGES = 60


@dataclass
class Collection:
    """What goes into the files; change it before :meth:`write`."""

    passages: list[str] = field(default_factory=list)
    titles: dict[int, str] = field(default_factory=dict)
    queries: dict[str, dict[str, str]] = field(default_factory=dict)
    qrels: dict[str, list[tuple[str, str, int]]] = field(default_factory=dict)

    def write(self, home: Path) -> Path:
        """Fill ``home``, an ir_datasets home, and return it."""
        base = home / "msmarco-passage"
        collection = "".join(f"{i}\t{broken(text) if i % 7 == 0 else text}\n" for i, text in enumerate(self.passages))
        _tar(
            base / "collectionandqueries.tar.gz",
            {
                "collection.tsv": collection,
                "qrels.dev.small.tsv": _qrels(self.qrels["dev"], "\t"),
                "qrels.train.tsv": _qrels(self.qrels["train"], "\t"),
                "queries.dev.small.tsv": _queries(self.queries["dev"]),
                "queries.eval.small.tsv": "",
            },
        )
        _tar(base / "queries.tar.gz", {"queries.dev.tsv": _queries(self.queries["dev"]), "queries.train.tsv": _queries(self.queries["train"])})
        _text(base / "train/qrels", _qrels(self.qrels["train"], "\t"))
        for year in ("2019", "2020"):
            _text(base / f"trec-dl-{year}/qrels", _qrels(self.qrels[year], " "))
        # The archive of 2019's queries is only ever unpacked on the way; this is what ir_datasets keeps of it.
        _text(base / "trec-dl-2019/queries.tsv", _queries(self.queries["2019"]))
        (base / "trec-dl-2020/queries.tsv.gz").write_bytes(gzip.compress(_queries(self.queries["2020"]).encode()))
        return home

    def judged(self, split: str) -> int:
        """Number of judged queries."""
        return len({query for query, _, _ in self.qrels[split]})


def collection(seed: int = 7) -> Collection:
    """60 passages, 40 training queries of which 30 are judged, 12 of dev, 6 and 7 judged ones of TREC DL."""
    draw = random.Random(seed)
    made = Collection()
    for i in range(PASSAGES):
        thing, verb, place = THINGS[i % 16], VERBS[(i * 5) % 16], PLACES[i % 8]
        others = " ".join(draw.choice(THINGS + VERBS) for _ in range(12))
        made.passages.append(f"The {thing} of {place} {verb} number {i}: {others}.")
        if i % 3:
            made.titles[i] = f"{thing} in {place}"
    numbers = iter(draw.sample(range(10_000, 1_200_000), 200))
    for split, count, judged in (("train", 40, 30), ("dev", 12, 12), ("2019", 8, 6), ("2020", 9, 7)):
        made.queries[split], made.qrels[split] = {}, []
        for n in range(count):
            query, row = str(next(numbers)), draw.randrange(PASSAGES)
            words = made.passages[row].rstrip(".").split()
            made.queries[split][query] = f"what {words[1]} {words[4]} {words[6].rstrip(':')} {draw.choice(words[7:])}"
            if n >= judged:
                continue
            grades = (1,) if split in ("train", "dev") else (3, 2, 1, 0)
            for grade, other in zip(grades, [row, *draw.sample([i for i in range(PASSAGES) if i != row], len(grades) - 1)]):
                made.qrels[split].append((query, str(other), grade))
    return made


def broken(text: str) -> str:
    """UTF-8 read as Latin-1, as in parts of the official file.

    >>> broken("Türkiye")
    'TÃ¼rkiye'
    """
    return text.encode().decode("latin-1")


def _queries(queries: dict[str, str]) -> str:
    return "".join(f"{query}\t{text}\n" for query, text in queries.items())


def _qrels(judgements: list[tuple[str, str, int]], gap: str) -> str:
    second = "0" if gap == "\t" else "Q0"
    return "".join(gap.join((query, second, passage, str(grade))) + "\n" for query, passage, grade in judgements)


def _text(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")


def _tar(file: Path, members: dict[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content.encode())
            archive.addfile(entry, io.BytesIO(content.encode()))
