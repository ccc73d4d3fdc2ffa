"""Answers in passages: tokens against an own reading of Unicode's classes, matches made by hand, and the metric over a whole run."""

from __future__ import annotations

import random
import unicodedata

import numpy as np
import pytest

from simlm.config.experiment import EvaluatedSplit
from simlm.config.metrics import canonical_metric
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.errors import UserError
from simlm.evaluation.answers import evaluate_answers
from simlm.evaluation.metrics import parse_metrics
from simlm.evaluation.splits import evaluate_split
from simlm.runs.answers import AnswerMatcher, framed, frames, tokens
from simlm.runs.runs import TrecRanking

# ------------------------------------------------------------------------------------------------ tokens and matches


def read_by_classes(text: str) -> list[str]:
    """Tokens letter by letter: what a regular expression says in one line."""
    found, run = [], ""
    for letter in unicodedata.normalize("NFD", text):
        kind = unicodedata.category(letter)[0]
        if kind in "LNM":
            run += letter
            continue
        if run:
            found.append(run)
        run = ""
        if kind not in "ZC":
            found.append(letter)
    return [token.lower() for token in [*found, *([run] if run else [])]]


ALPHABET = "abzABZ019 .,-'’\"$€()\t\n éÉñüßİıſﬁÅ 東京ไทยहिन्दी\u0301\u200b\u00a0\u2028Ⅷ½²😀"


def test_tokens_are_those_of_unicodes_classes():
    draw = random.Random(5)
    for _ in range(500):
        text = "".join(draw.choice(ALPHABET) for _ in range(draw.randrange(30)))
        assert tokens(text) == read_by_classes(text), repr(text)


def stands_in(answer: str, text: str) -> bool:
    """Token by token, at every place."""
    wanted, there = read_by_classes(answer), read_by_classes(text)
    return bool(wanted) and any(there[i : i + len(wanted)] == wanted for i in range(len(there) - len(wanted) + 1))


def test_an_answer_is_found_where_its_tokens_stand_together():
    draw, hits = random.Random(6), 0
    for _ in range(2000):
        text, answer = ("".join(draw.choice("ab .-é") for _ in range(draw.randrange(1, top))) for top in (14, 5))
        found = any(frame in framed(text) for frame in frames([answer]))
        assert found == stands_in(answer, text), (answer, text)
        hits += found
    assert 200 < hits < 1800


@pytest.mark.parametrize(
    ("answer", "text", "found"),
    [
        ("U.S.", "born in the u.s. in 1900", True),
        ("US", "born in the U.S.", False),
        ("Beyoncé", "a song by BEYONCÉ", True),
        # Marks belong to their letter's token, so that another spelling is another word.
        ("Beyonce", "a song by Beyoncé", False),
        ("well-known", "a well - known man", True),
        ("cat", "concatenate", False),
        ("1,000", "about 1,000 people", True),
        ("New York", "new  york", True),
        ("New York", "new and york", False),
        ("", "anything", False),
        (" \u200b ", "anything", False),
    ],
)
def test_matches_made_by_hand(answer, text, found):
    assert any(frame in framed(text) for frame in frames([answer])) == found
    assert stands_in(answer, text) == found


# ------------------------------------------------------------------------------------------------ the metric

PASSAGES = [(f"p{i}", "Paris" if i == 0 else "", f"filler {i}") for i in range(30)] + [
    ("p30", "", "It is Paris."),
    ("p31", "", "Rome, or Roma."),
    ("p32", "", "42"),
]
QUESTIONS = [("q0", "capital of france"), ("q1", "capital of italy"), ("q2", "the answer"), ("q3", "nobody knows"), ("q4", "what the run lacks")]
ANSWERS = [("q0", ["Paris"]), ("q1", ["Roma", "Rome"]), ("q2", ["42"]), ("q3", []), ("q4", ["42"])]


@pytest.fixture
def store(tmp_path) -> CorpusStore:
    qrels = [(query, "p30", 1) for query, _ in QUESTIONS]
    splits = {"test": (QUESTIONS, None, ANSWERS), "both": (QUESTIONS, qrels, ANSWERS), "judged": (QUESTIONS, qrels)}
    write_corpus(tmp_path / "corpus", PASSAGES, splits, {"source": "mine"})
    return CorpusStore(tmp_path / "corpus")


def ranking(query: str, *ids: str) -> TrecRanking:
    return TrecRanking(query, list(ids), np.arange(len(ids), 0, -1, dtype=np.float64))


def run() -> list[TrecRanking]:
    others = [f"p{i}" for i in range(30)]
    return [
        # The title of p0 is no text of it: rank 3.
        ranking("q0", "p0", "p1", "p30"),
        # Rank 25.
        ranking("q1", *others[:24], "p31"),
        # The first line with the lower score is behind the second.
        TrecRanking("q2", ["p1", "p32"], np.array([1.0, 2.0])),
        ranking("q3", "p30", "p31", "p32"),
        ranking("unknown", "p30"),
    ]


def test_every_question_counts_and_depth_decides(store):
    found = evaluate_answers(run(), store, "test", ["Answer@1", "Answer@3", "Answer@20", "Answer@100"])
    assert found.query_ids == [query for query, _ in QUESTIONS]
    assert {name: values.tolist() for name, values in found.values.items()} == {
        "Answer@1": [0, 0, 1, 0, 0],
        "Answer@3": [1, 0, 1, 0, 0],
        "Answer@20": [1, 0, 1, 0, 0],
        "Answer@100": [1, 1, 1, 0, 0],
    }
    assert (found.missing, found.ignored) == (1, 1)
    assert found.averages["Answer@100"] == 0.6


def test_a_split_with_both_is_judged_by_either(store):
    found, measures = evaluate_split(run, store, "both", ["Answer@3", "RR@10"], EvaluatedSplit())
    assert {name: values.tolist() for name, values in found.values.items()} == {"Answer@3": [1, 0, 1, 0, 0], "RR@10": [pytest.approx(1 / 3), 0, 0, 1, 0]}
    assert list(found.values) == ["Answer@3", "RR@10"]
    assert measures == {"Answer@3": "Answer@3", "RR@10": "RR@10"}


def test_a_split_in_which_nothing_can_be_found_is_refused(store):
    with pytest.raises(UserError, match=r"the split 'both' judges no passage with a grade of 4 or more.*lower evaluate\.splits\.both\.relevance"):
        evaluate_split(run, store, "both", ["RR@10"], EvaluatedSplit(relevance=4))


def test_what_cannot_be_judged_is_said(store):
    with pytest.raises(UserError, match="the queries of the split 'judged' come without answers"):
        evaluate_answers(run(), store, "judged", ["Answer@3"])
    with pytest.raises(UserError, match="the run is empty"):
        evaluate_answers([], store, "test", ["Answer@3"])
    with pytest.raises(UserError, match="none of the run's queries is a question"):
        evaluate_answers([ranking("unknown", "p1")], store, "test", ["Answer@3"])
    with pytest.raises(UserError, match="a file of judgements does not hold"):
        parse_metrics(["Answer@20"])
    with pytest.raises(ValueError, match="write Answer@10"):
        canonical_metric("answer")
    assert canonical_metric("answers@100") == "Answer@100"


def test_passages_behind_the_first_with_an_answer_are_not_read(store, monkeypatch):
    asked = []
    monkeypatch.setattr(AnswerMatcher, "contains", lambda self, query, rows: asked.append(rows.tolist()) or np.array([row == 12 for row in rows]))
    matcher = AnswerMatcher(store, {"q": ["x"]})
    assert matcher.first("q", np.arange(5, 30)) == 8
    assert asked == [list(range(5, 15))]
    assert matcher.first("q", np.arange(13, 30)) is None
