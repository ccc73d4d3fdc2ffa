"""Mining with answers: no passage that contains one is a negative, and what it becomes instead is a choice."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from simlm.config.experiment import Negatives
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.runs.answers import AnswerMatcher
from simlm.runs.negatives import MiningCounts, mine_negatives
from simlm.runs.runs import Ranking

# Every third passage contains the answer "gold", every fifth "silver".
TEXTS = [f"passage {i}{' gold' if i % 3 == 0 else ''}{' silver' if i % 5 == 0 else ''}" for i in range(60)]
ANSWERS = {"q0": ["gold"], "q1": ["silver"], "q2": ["platinum"], "q3": ["gold"]}
POSITIVES = {"q0": [1], "q1": [5, 7], "q2": [2]}
RUN = {"q0": range(12), "q1": range(4, 16), "q2": range(12), "q3": range(12), "q4": range(3)}


@pytest.fixture(scope="module")
def matcher(tmp_path_factory) -> AnswerMatcher:
    folder = tmp_path_factory.mktemp("answers") / "corpus"
    queries = [(query, "a question") for query in ANSWERS]
    write_corpus(folder, [(f"p{i}", "gold", text) for i, text in enumerate(TEXTS)], {"train": (queries, None, list(ANSWERS.items()))}, {"source": "mine"})
    store = CorpusStore(folder)
    return AnswerMatcher(store, store.answers("train"))


def mined(matcher: AnswerMatcher | None, **settings):
    run = [Ranking(query, np.array(rows, np.int32), np.zeros(len(rows), np.float32)) for query, rows in RUN.items()]
    counts = MiningCounts()
    options = Negatives(**{"depth": 10, "sample": 10, "pad_to": 20, **settings})
    found = list(mine_negatives(run, POSITIVES, len(TEXTS), options, 3, counts, None, matcher and matcher.contains))
    return {one.query_id: (one.positives.tolist(), set(one.negatives.tolist())) for one in found}, counts


@pytest.mark.parametrize("answers", ["left_out", "positives"])
def test_no_negative_contains_an_answer(matcher, answers):
    found, _ = mined(matcher, answers=answers)
    for query, (_, negatives) in found.items():
        assert len(negatives) > 10
        assert not [row for row in negatives if any(answer in TEXTS[row] for answer in ANSWERS[query])], query


def test_all_others_of_the_run_are_negatives(matcher):
    found, counts = mined(matcher, answers="left_out", pad_to=0)
    assert found == {
        "q0": ([1], {2, 4, 5, 7, 8}),
        # Silver ones: 5, 10. Of the top ten, 4 to 13.
        "q1": ([5, 7], {4, 6, 8, 9, 11, 12, 13}),
        "q2": ([2], {0, 1, 3, 4, 5, 6, 7, 8, 9}),
    }
    assert (counts.with_answer, counts.no_positive, counts.no_run_entry, counts.positives_found) == (4 + 1, 2, 0, 4)


def test_passages_with_an_answer_become_positives(matcher):
    found, counts = mined(matcher, answers="positives", pad_to=0)
    assert found["q0"] == ([0, 1, 3, 6, 9], {2, 4, 5, 7, 8})
    assert found["q1"][0] == [5, 7, 10]
    assert found["q2"][0] == [2]
    # Labelled positives it has none, but the run has some.
    assert found["q3"][0] == [0, 3, 6, 9]
    assert (counts.with_answer, counts.no_positive, counts.no_run_entry, counts.positives, counts.positives_found) == (4 + 1 + 4, 1, 0, 4, 4)


def test_without_answers_nothing_is_new():
    ours, counts = mined(None)
    assert ours["q0"][1] >= {0, 3, 6, 9}
    assert asdict(counts)["with_answer"] == 0
