"""A small Natural Questions over DPR's Wikipedia in its true layout: the files that ir_datasets fetches into its home, and DPR's questions of the test.

Passages are a CSV file with tabs, where what holds quotation marks is quoted; questions of the train split are DPR's JSON.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from dataclasses import dataclass, field
from pathlib import Path

PEOPLE = ["Ada Lovelace", "Emmy Noether", "José Martí", "Beyoncé Knowles", "Lu Xun", "Zoë Kravitz", "W. E. B. Du Bois", "Sojourner Truth"]
WORKS = ["a notebook", "a theorem", "a poem", "an album", "a story", "a film", "an essay", "a speech"]
TOWNS = ["Turin", "Göttingen", "Havana", "Houston", "Shaoxing", "Paris", "Accra", "Akron"]
PASSAGES, TRAIN, DEV, TEST = 48, 30, 6, 12


@dataclass
class Collection:
    """What goes into the files."""

    passages: list[tuple[str, str]] = field(default_factory=list)
    """(title, text); ids count from 1."""
    questions: dict[str, list[dict]] = field(default_factory=dict)
    """Split → DPR's records."""
    test: list[tuple[str, list[str]]] = field(default_factory=list)

    def write(self, home: Path) -> Path:
        """Fill ``home``, an ir_datasets home, and return it."""
        base = home / "dpr-w100"
        base.mkdir(parents=True)
        text = io.StringIO()
        rows = csv.writer(text, delimiter="\t", lineterminator="\n")
        rows.writerow(["id", "text", "title"])
        rows.writerows((i, text, title) for i, (title, text) in enumerate(self.passages, 1))
        (base / "docs.tsv.gz").write_bytes(gzip.compress(text.getvalue().encode()))
        for split, records in self.questions.items():
            (base / f"nq-{split}.json.gz").write_bytes(gzip.compress(json.dumps(records, indent=4).encode()))
        # Fetched by this project, ir_datasets has no test split.
        (home / "questions").mkdir()
        with open(home / "questions/nq-test.qa.csv", "w", encoding="utf-8", newline="") as stream:
            csv.writer(stream, delimiter="\t", lineterminator="\n").writerows((question, repr(answers)) for question, answers in self.test)
        return home


def collection(seed: int = 3) -> Collection:
    """48 passages about eight people, 30 training questions with what DPR lists for them, 12 test questions."""
    draw, made = random.Random(seed), Collection()
    for i in range(PASSAGES):
        person, work, town = PEOPLE[i % 8], WORKS[(i * 3) % 8], TOWNS[i // 6]
        said = ' and called it "the best of all"' if i % 4 == 0 else ""
        title = f'"{person}" (sketch)' if i % 10 == 0 else person
        made.passages.append((title, f"In {1800 + i} {person} wrote {work} in {town}{said}."))
    for split, count in (("train", TRAIN), ("dev", DEV)):
        made.questions[split] = [_record(draw, made.passages, number) for number in range(count)]
    for number in range(TEST):
        record = _record(draw, made.passages, 100 + number)
        made.test.append((record["question"], record["answers"]))
    return made


def _record(draw: random.Random, passages: list[tuple[str, str]], number: int) -> dict:
    """A question as DPR lists it: what an annotator marked first (score 1000), what BM25 found with the answer, and what it found without."""
    row = draw.randrange(PASSAGES)
    answer, person = str(1800 + row), PEOPLE[row % 8]
    others = [i for i in range(PASSAGES) if i != row]
    same = [i for i in others if PEOPLE[i % 8] == person]

    def listed(rows: list[int], score: float) -> list[dict]:
        contexts = [{"title": passages[i][0], "text": passages[i][1], "score": score, "title_score": 0} for i in rows]
        return [{**context, "passage_id": str(i + 1)} for context, i in zip(contexts, rows)]

    return {
        "dataset": "nq_train_psgs_w100",
        "question": f"when did {person}’s {WORKS[(row * 3) % 8].split()[-1]} of {TOWNS[row // 6]} appear, number {number}",
        "answers": [answer, f"the year {answer}"],
        "positive_ctxs": listed([row], 1000),
        "negative_ctxs": listed(draw.sample([i for i in others if i not in same], 3), 0),
        "hard_negative_ctxs": listed(draw.sample(same, 3), 12.5),
    }
