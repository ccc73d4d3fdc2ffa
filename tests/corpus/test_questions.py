"""Questions with answers: their file, and splits of the corpus store that have answers instead of judgements, or both."""

from __future__ import annotations

import csv
import random

import pytest

from simlm.corpus.questions import read_questions
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.errors import UserError

PASSAGES = [(f"p{i}", "", f"text {i}") for i in range(20)]
QUESTIONS = [(f"q{i}", f"question {i}") for i in range(6)]
ANSWERS = [(query, [f"answer {query}"]) for query, _ in QUESTIONS]


def test_what_a_csv_writer_wrote_is_read_again(tmp_path):
    """DPR's file is a list's `repr` behind a question, written with tabs between."""
    draw, made = random.Random(1), []
    for i in range(50):
        answers = ["".join(draw.choice("ab 'é\"\\,[]") for _ in range(draw.randrange(1, 9))) for _ in range(draw.randrange(4))]
        made.append((f'who "is" number {i}' if i % 7 == 0 else f"who is number {i}", answers))
    with open(tmp_path / "qa.csv", "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter="\t", lineterminator="\n").writerows((question, repr(answers)) for question, answers in made)
    questions, answers = read_questions(tmp_path / "qa.csv", "test")
    assert list(questions) == [(f"test-{i}", question) for i, (question, _) in enumerate(made)]
    assert [own for _, own in answers] == [own for _, own in made]


def test_lines_as_they_stand_in_the_published_file(tmp_path):
    lines = "who got the first nobel prize in physics\t['Wilhelm Conrad Röntgen']\nwho is macbeth’s wife\t[\"Lady Macbeth's\", 'Lady']\n"
    (tmp_path / "nq-test.qa.csv").write_text(lines, encoding="utf-8")
    questions, answers = read_questions(tmp_path / "nq-test.qa.csv", "test")
    assert list(questions) == [("test-0", "who got the first nobel prize in physics"), ("test-1", "who is macbeth's wife")]
    assert list(answers) == [("test-0", ["Wilhelm Conrad Röntgen"]), ("test-1", ["Lady Macbeth's", "Lady"])]


@pytest.mark.parametrize("line", ["a question", "a question\tParis", "a question\t[1]", "a question\t['a']\tmore", "a question\t__import__('os').getcwd()"])
def test_a_line_of_another_form_is_refused_with_its_place(tmp_path, line):
    (tmp_path / "qa.csv").write_text(f"first\t['a']\n{line}\n")
    with pytest.raises(UserError, match=r"qa\.csv:2 is not a question with its answers"):
        list(read_questions(tmp_path / "qa.csv", "test")[0])
    with pytest.raises(UserError, match="does not exist"):
        list(read_questions(tmp_path / "nothing.csv", "test")[0])


def made(folder, splits, **options) -> CorpusStore:
    write_corpus(folder / "corpus", PASSAGES, splits, {"source": "mine"}, **options)
    return CorpusStore(folder / "corpus")


def test_a_split_of_answers_alone(tmp_path):
    store = made(tmp_path, {"test": (QUESTIONS, None, ANSWERS[:5])})
    # A question that nothing judges is left out, like a query without judgements.
    assert list(store.queries("test")) == [f"q{i}" for i in range(5)]
    assert store.answers("test") == dict(ANSWERS[:5])
    assert (store.qrels("test"), store.positives("test"), store.own_rows("test")) == ({}, {}, {})
    about = store.manifest["splits"]["test"]
    assert (about["judgements"], about["answers"], about["dropped"]) == (0, 5, {"unjudged_queries": 1})


def test_answers_beside_judgements_follow_the_queries(tmp_path):
    qrels = [(f"q{i}", f"p{i}", 1) for i in range(5)]
    store = made(tmp_path, {"train": (QUESTIONS, qrels, ANSWERS[1:])}, max_queries={"train": 3}, max_passages=12)
    kept = list(store.queries("train"))
    assert 0 < len(kept) <= 3
    assert store.answers("train") == {query: ([] if query == "q0" else [f"answer {query}"]) for query in kept}
    assert list(store.qrels("train")) == kept


def test_a_cut_split_of_questions(tmp_path):
    store = made(tmp_path, {"all": (QUESTIONS, None, ANSWERS)}, cut=("all", {"one": 0.5, "two": 0.5}))
    assert store.answers("one") | store.answers("two") == dict(ANSWERS)
    assert store.answers("one").keys() == store.queries("one").keys()


def test_other_answers_are_another_corpus_and_none_change_nothing(tmp_path):
    qrels = [(query, "p1", 1) for query, _ in QUESTIONS]
    digests = {}
    for name, parts in (("none", (QUESTIONS, qrels)), ("some", (QUESTIONS, qrels, ANSWERS)), ("other", (QUESTIONS, qrels, [*ANSWERS[:-1], ("q5", ["x"])]))):
        (tmp_path / name).mkdir()
        digests[name] = made(tmp_path / name, {"train": parts}).sha256
    assert len(set(digests.values())) == 3
    assert not (tmp_path / "none/corpus/answers").exists()


def test_a_file_of_answers_that_was_cut_is_refused(tmp_path):
    store = made(tmp_path, {"test": (QUESTIONS, None, ANSWERS)})
    file = tmp_path / "corpus/answers/test.jsonl"
    whole = file.read_text()
    file.write_text(whole[: whole.rindex("\n", 0, -1) + 1])
    with pytest.raises(UserError, match="holds 5 questions but the manifest says 6"):
        store.answers("test")
    file.write_text(whole[:-9])
    with pytest.raises(UserError, match=r"test\.jsonl:6 is not a question with its answers"):
        store.answers("test")
