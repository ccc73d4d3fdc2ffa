"""Teachers from outside: files of scores in the forms of the field, averages of several, and cross-encoders in sentence-transformers' layout."""

from __future__ import annotations

import gzip
import json
import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from finetuning import QUERIES, make_context
from small_vocabulary import word_tokenizer

from simlm.config import validate
from simlm.config.inputs import inputs_of
from simlm.config.jobs import Job, teacher_scores_all
from simlm.config.load import before_running
from simlm.config.score_files import form_of_scores
from simlm.config.stages import settings_of
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.errors import UserError
from simlm.runs.given_scores import scored_pairs, scores_of_lists
from simlm.runs.lists import iter_lists, open_lists
from simlm.stages.import_model import import_model
from simlm.stages.score_teacher import score_teacher
from simlm.training.biencoder import train
from simlm.training.false_negatives import as_probable
from simlm.training.queries import TrainingQueries
from simlm.training.taught import scored_only
from simlm.training.teacher_scores import TeacherScores, _schema, write_teacher_scores
from simlm.training.teachers import averaged

SCORES = {"q1": {"p1": 7.5, "p2": -1.25, "p3": 0.0}, "7": {"12": 3.0, "p2": 1e-3}}
TRIPLES = [(query, passage, score) for query, inner in SCORES.items() for passage, score in inner.items()]
STUDENT = {"kind": "biencoder", "negatives": "bm25", "steps": 3, "batch_size": 8, "hard_negatives": 3, "learning_rate": 2e-3}
STUDENT |= {"query_length": 16, "passage_length": 32, "threads": 1, "log_steps": 1}


def lines(values) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def parquet(path: Path) -> None:
    import pandas

    pandas.DataFrame(TRIPLES, columns=["query_id", "passage_id", "score"]).to_parquet(path)


FORMS = {
    "run.trec": "".join(f"{q} Q0 {p} {rank} {s!r} rankzephyr\n" for rank, (q, p, s) in enumerate(TRIPLES, 1)),
    "scores.tsv": "".join(f"{q}\t{p}\t{s!r}\n" for q, p, s in TRIPLES),
    "named.tsv": "qid\tscore\tpid\n" + "".join(f"{q}\t{s!r}\t{p}\n" for q, p, s in TRIPLES),
    "named.csv": "query_id,passage_id,score\n" + "".join(f"{q},{p},{s!r}\n" for q, p, s in TRIPLES),
    "triples.jsonl": lines({"query_id": int(q) if q.isdigit() else q, "passage_id": p, "score": s} for q, p, s in TRIPLES),
    "tevatron.jsonl": lines(
        {
            "query_id": q,
            "query": "what?",
            "positive_passages": [{"docid": p, "title": "", "text": "t", "score": s} for p, s in list(inner.items())[:1]],
            "negative_passages": [{"docid": p, "title": "", "text": "t", "score": s} for p, s in list(inner.items())[1:]],
        }
        for q, inner in SCORES.items()
    ),
    "hard-negatives.jsonl": lines(
        {
            "qid": q,
            "pos": [{"pid": p, "ce-score": s} for p, s in list(inner.items())[:1]],
            "neg": {system: [{"pid": p, "ce-score": s} for p, s in list(inner.items())[1:]] for system in ("bm25", "mpnet")},
        }
        for q, inner in SCORES.items()
    ),
    "nested.json": json.dumps(SCORES),
    "nested-indented.json": json.dumps(SCORES, indent=2),
    "nested.jsonl": lines({q: inner} for q, inner in SCORES.items()),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_the_field_is_read(tmp_path, name, packed):
    file = tmp_path / (name + (".gz" if packed else ""))
    file.write_bytes(gzip.compress(FORMS[name].encode()) if packed else FORMS[name].encode())
    assert [tuple(pair) for pair in scored_pairs(file)] == TRIPLES


def test_a_table_of_parquet_is_read(tmp_path):
    parquet(tmp_path / "scores.parquet")
    assert [tuple(pair) for pair in scored_pairs(tmp_path / "scores.parquet")] == TRIPLES


class Trap:
    """What an unpickler would run."""

    def __reduce__(self):
        return (Path("/nowhere-at-all/unpickled").write_text, ("",))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("scores.pkl.gz", gzip.compress(pickle.dumps(SCORES)), "is pickled, and to read it could run any program"),
        ("renamed.json", pickle.dumps(Trap()), "is pickled"),
        ("scores.pt", b"PK\x03\x04 an archive", "is pickled"),
        ("empty.tsv", b"\n", "is empty"),
        ("queries.tsv", b"q1\twhat flows\n", "is no file of scores: it begins with 'q1"),
        ("tevatron.jsonl", b'{"query_id": "q", "positive_passages": [{"docid": "p"}], "negative_passages": []}\n', "is no file of scores"),
        ("bare.jsonl", b'{"qid": 1, "pos": [2], "neg": {"bm25": [3]}}\n', "is no file of scores"),
        ("cut.tsv.gz", gzip.compress(b"q1\tp1\t1.0\n" * 9999)[:12], "cannot be read"),
    ],
)
def test_a_file_of_another_kind_is_refused_unread(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        form_of_scores(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.tsv", "q1\tp1\t1\nq1\tp2\tnan\n", r"a\.tsv:2: the score 'nan' is no finite number"),
        ("a.jsonl", '{"qid": "q1", "pid": "p1", "score": 1}\n{"qid": "q1", "score": 1}\n', r"a\.jsonl:2: the id of a passage must be a string"),
        ("a.trec", "q1 Q0 p1 1 1.0 t\nq1 Q0 p1 2 0.5 t\n", r"a\.trec:2: passage 'p1' is listed twice"),
        ("a.csv", "qid,pid,score\nq1,p1\n", r"a\.csv:2 has 2 columns"),
        ("a.json", '{"q1": {"p1": true}}', r"a\.json:1, query 'q1': the score 'True' is no finite number"),
    ],
)
def test_a_line_that_is_no_score_is_refused_with_its_place(tmp_path, name, content, place):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=place):
        list(scored_pairs(tmp_path / name))


def test_scores_find_their_places_and_the_others_are_counted(tmp_path):
    passages = [(f"p{i}", "", f"text {i}") for i in range(5)]
    write_corpus(
        tmp_path / "corpus",
        passages,
        {"train": ([("q1", "one"), ("q2", "two"), ("q3", "three")], [("q1", "p1", 1), ("q2", "p2", 1), ("q3", "p1", 1)])},
        {"source": "test"},
    )
    file = tmp_path / "scores.tsv"
    file.write_text("q2\tp4\t4\nq1\tp0\t1\nq1\tp3\t2\nq9\tp1\t3\nq1\tp1\t5\nq1\tp99\t6\nq1\tp1\t0\nq3\tp1\t7\n")
    # Listed are p1, p3 and p4 for q1, and p2 and p4 for q2; q3 has no list.
    found, counts = scores_of_lists(file, CorpusStore(tmp_path / "corpus"), ["q1", "q2"], np.array([1, 3, 4, 2, 4], np.int32), np.array([0, 3, 5]))
    np.testing.assert_array_equal(found, np.array([5, 2, np.nan, np.nan, 4], np.float32))
    assert (counts.scores, counts.used, counts.unlisted, counts.unknown_queries, counts.unknown_passages, counts.repeated) == (8, 3, 2, 1, 1, 1)
    assert "such as 'q9'" in str(counts)
    assert "such as 'p99'" in str(counts)
    file.write_text("q9\tp4\t4\n")
    with pytest.raises(UserError, match=r"scores none of the listed passages .*such as 'q9'.*are its ids those of the corpus"):
        scores_of_lists(file, CorpusStore(tmp_path / "corpus"), ["q1"], np.array([1], np.int32), np.array([0, 1]))


def test_an_average_is_the_formula(tmp_path):
    draw, offsets, weights = np.random.default_rng(3), np.array([0, 3, 3, 5, 9]), [2.0, 1.0, 0.5]
    first, second, third = draw.normal(size=9) * 8, draw.random(9), draw.normal(size=9) * 0.1 + 40

    def given(*teachers):
        return [[values.astype(np.float32)[a:b] for a, b in pairwise(offsets)] for values in teachers]

    def mean(*teachers, shares=weights):
        return np.concatenate(list(averaged(given(*teachers), offsets, shares, tmp_path)))

    lists = [slice(a, b) for a, b in pairwise(offsets) if b > a]
    flat = [np.concatenate([values[own] - values[own].mean() for own in lists]) for values in (first, second, third)]
    spreads = [np.sqrt((values**2).mean()) for values in flat]
    level = np.concatenate([np.full(own.stop - own.start, first[own].mean()) for own in lists])
    expected = level + spreads[0] * sum(weight * values / spread for weight, values, spread in zip(weights, flat, spreads)) / 3.5
    np.testing.assert_allclose(mean(first, second, third), expected, rtol=1e-5)
    # Neither the range of another teacher nor a number that it adds to a whole list matters, and a teacher agrees with itself.
    moved = second * 100 - np.repeat([5.0, 60.0, -3.0], [3, 2, 4])
    np.testing.assert_allclose(mean(first, moved, third), mean(first, second, third), rtol=1e-4)
    np.testing.assert_allclose(mean(first, first, shares=None), first, rtol=1e-5)
    missing = third.copy()
    missing[4] = np.nan
    assert np.flatnonzero(np.isnan(mean(first, second, missing))).tolist() == [4]
    with pytest.raises(UserError, match="scored by all of the teachers"):
        mean(first, np.full(9, np.nan))


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory):
    """A folder that sentence-transformers writes; one label, and what it says to do with a logit: nothing, or a sigmoid."""
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification

    root = tmp_path_factory.mktemp("teachers")
    torch.manual_seed(5)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64}
    plain = BertForSequenceClassification(BertConfig(vocab_size=len(word_tokenizer()), num_labels=1, initializer_range=0.4, **size))
    plain.save_pretrained(root / "plain")
    word_tokenizer().save_pretrained(root / "plain")
    for name, function in (("identity", torch.nn.Identity()), ("sigmoid", torch.nn.Sigmoid())):
        CrossEncoder(str(root / "plain"), activation_fn=function, max_length=48, device="cpu").save_pretrained(str(root / name))
    return root


def record_of(context, stage: str) -> dict:
    return json.loads(context.paths.record(stage).read_text())


def read(context, student: str) -> dict[tuple[str, int], float]:
    with open_lists(context.paths.teacher_scores(student), _schema(), "scores", "it") as file:
        return {
            (query, int(row)): float(score)
            for (queries,), (rows, scores) in iter_lists(file, ["query_id"], ["passages", "scores"])
            for query, own, values in zip(queries, rows, scores)
            for row, score in zip(own, values)
        }


@pytest.fixture(scope="module")
def made(tmp_path_factory, cross_encoder):
    """Students of a cross-encoder in either form, of a file that holds a part of the lists, and of both."""
    folder = tmp_path_factory.mktemp("made")
    # Queries 0 to 9 miss all, 10 to 14 their positive; every fifth passage is missing everywhere. Ids of nothing are there, too.
    there = [(i, row) for i in range(10, QUERIES) for row in range(QUERIES) if row % 5 and not (i < 15 and row == i)]
    text = "".join(f"q{i}\tp{row}\t{score}\n" for (i, row), score in zip(there, np.random.default_rng(0).random(len(there))))
    (folder / "scores.tsv").write_text(text + "q999\tp1\t0.5\nq11\tp999\t0.5\n")
    models = {name: {"kind": "given_crossencoder", "init": str(cross_encoder / name), "rerank": "bm25", "max_length": 48} for name in ("identity", "sigmoid")}
    models |= {"scores": {"kind": "given_scores", "path": str(folder / "scores.tsv")}}
    models |= {f"of_{name}": {**STUDENT, "teacher": name, "holdout": 4} for name in ("identity", "sigmoid", "scores")}
    models["of_nothing"] = models["of_scores"]
    models["of_both"] = {**STUDENT, "teacher": ["identity", "scores"], "teacher_weights": [1, 3], "distillation": "margin_mse", "holdout": 4}
    context = make_context(folder, word_tokenizer(), models)
    for name in ("identity", "sigmoid"):
        import_model(context, name)
    for name in ("of_identity", "of_sigmoid", "of_scores", "of_both"):
        score_teacher(context, name)
    return context


def test_a_cross_encoder_of_sentence_transformers_teaches_by_its_logits(made, cross_encoder):
    """What sentence-transformers computes with the same folder; a sigmoid that the folder asks for is not applied."""
    from sentence_transformers import CrossEncoder

    store, queries = CorpusStore(made.paths.corpus), CorpusStore(made.paths.corpus).queries("train")
    found = read(made, "of_identity")
    assert found == read(made, "of_sigmoid")
    pairs = list(found)[:60]
    titles, texts = store.texts([row for _, row in pairs])
    given = [(queries[query], f"{title}: {text}" if title else text) for (query, _), title, text in zip(pairs, titles, texts)]
    logits = np.array([found[pair] for pair in pairs])
    np.testing.assert_allclose(CrossEncoder(str(cross_encoder / "identity"), device="cpu").predict(given), logits, atol=1e-4)
    np.testing.assert_allclose(CrossEncoder(str(cross_encoder / "sigmoid"), device="cpu").predict(given), 1 / (1 + np.exp(-logits)), atol=1e-4)
    assert logits.std() > 0.1


def test_a_cross_encoder_with_more_labels_is_no_teacher(tmp_path, cross_encoder):
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig.from_pretrained(cross_encoder / "plain", num_labels=3)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "three")
    word_tokenizer().save_pretrained(tmp_path / "three")
    three = {"kind": "given_crossencoder", "init": str(tmp_path / "three"), "rerank": "bm25", "max_length": 48}
    with pytest.raises(UserError, match="is a classifier of 3 labels"):
        import_model(make_context(tmp_path, word_tokenizer(), {"three": three}), "three")


def test_a_file_scores_what_is_listed_and_the_rest_is_counted(made):
    found, lists = read(made, "of_scores"), TrainingQueries.of(made, "of_scores", CorpusStore(made.paths.corpus)).groups
    listed = {(lists.query_ids[i], int(row)) for i in range(len(lists)) for row in [*lists.positives_of(i), *lists.negatives_of(i)]}
    assert set(found) == {(query, row) for query, row in listed if row % 5 and int(query[1:]) >= 10 and not (int(query[1:]) < 15 and row == int(query[1:]))}
    note = record_of(made, "score_teacher.of_scores")["notes"]["scores of scores"]
    assert "1 of queries that the split train lacks, such as 'q999'" in note
    assert "1 of passages that the corpus lacks, such as 'p999'" in note


def test_an_average_counts_what_both_score(made):
    both, one, other = read(made, "of_both"), read(made, "of_identity"), read(made, "of_scores")
    assert set(both) == set(other)
    query = "q31"
    rows = [row for name, row in both if name == query]
    values = np.array([[both[query, row], other[query, row]] for row in rows])
    # Three parts of four are the file's order.
    assert np.corrcoef(values.T)[0, 1] > 0.8
    assert {pair for pair in one if pair in both}


def test_a_student_is_trained_on_what_has_scores(made, tmp_path):
    trained = TrainingQueries.of(made, "of_scores", CorpusStore(made.paths.corpus))
    left, counts = scored_only(trained, TeacherScores.read(made.paths.teacher_scores("of_scores"), "of_scores", trained.groups, tmp_path))
    numbers = [int(trained.groups.query_ids[query][1:]) for query in trained.seen]
    assert [int(left.groups.query_ids[query][1:]) for query in left.seen] == [i for i in numbers if i >= 15 and i % 5]
    assert counts.without_positive == sum(not (i >= 15 and i % 5) for i in numbers)
    for query in left.seen.tolist():
        assert all(row % 5 for row in left.groups.negatives_of(query))
        assert set(left.groups.negatives_of(query)) == {row for row in trained.groups.negatives_of(query) if row % 5}
    for query in left.held_out.tolist():
        np.testing.assert_array_equal(left.groups.negatives_of(query), trained.groups.negatives_of(query))
    for name in ("of_scores", "of_both"):
        train(made, name)
        record = record_of(made, f"train.{name}")
        assert record["notes"]["queries"]["trained"] == len(left.seen)
        assert record["notes"]["scored by the teacher"]["without_positive"] == counts.without_positive


def test_scores_that_leave_nothing_are_refused(made):
    rows = np.arange(QUERIES)
    scored = [(f"q{i}", rows[rows != i], np.zeros(QUERIES - 1)) for i in range(QUERIES)]
    write_teacher_scores(made.paths.teacher_scores("of_nothing"), scored, {})
    with pytest.raises(UserError, match=r"models\.of_nothing\.teacher: nothing is left to train on: 0 of 44 .* 44 queries without a scored positive"):
        train(made, "of_nothing")


def test_a_changed_file_scores_and_trains_again_and_nothing_else(made):
    experiment, paths = made.experiment, made.paths
    file = paths.root.parents[1] / "scores.tsv"
    assert file in inputs_of(experiment, paths, Job("score_teacher", "of_scores")).values()
    assert paths.model("identity") / "simlm.json" in inputs_of(experiment, paths, Job("score_teacher", "of_both")).values()
    for job in (Job("train", "of_scores"), Job("mine_negatives", "bm25"), Job("encode", "of_scores", "1-of-1")):
        assert file not in inputs_of(experiment, paths, job).values()
    weights = {name: settings_of(experiment, "score_teacher", name).get("weights") for name in ("of_both", "of_scores")}
    assert weights == {"of_both": [1, 3], "of_scores": None}


def test_mistakes_are_refused_before_the_first_job(made, tmp_path):
    values = made.experiment.model_dump(mode="json", exclude_unset=True)

    def changed(name, **update):
        return validate({**values, "models": {**values["models"], name: {**values["models"][name], **update}}})

    with pytest.raises(UserError, match=r"models\.scores\.path: .*nothing\.tsv does not exist"):
        before_running(changed("scores", path=str(tmp_path / "nothing.tsv")))
    before_running(made.experiment)
    with pytest.raises(UserError, match=r"models\.of_both\.teacher\.1: no model is called 'scoress'; did you mean 'scores'"):
        changed("of_both", teacher=["identity", "scoress"])
    with pytest.raises(UserError, match="name at least one teacher, and each once"):
        changed("of_both", teacher=["identity", "identity"])
    with pytest.raises(UserError, match="'teacher_weights' must be as many numbers above 0 as there are teachers"):
        changed("of_both", teacher_weights=[1])
    with pytest.raises(UserError, match="negatives takes a system whose runs can be mined"):
        changed("of_both", negatives="scores")


def test_a_negative_is_close_by_the_softmax_over_the_list():
    """Against probabilities in float64, for scores of any sign and with any number added to a whole list."""
    draw = np.random.default_rng(11)
    for level in (-40.0, 0.0, 40.0):
        listed, labelled = draw.normal(size=50) + level, draw.normal(size=2) + level
        together = np.concatenate([labelled, listed])
        probabilities = np.exp(together - together.max()) / np.exp(together - together.max()).sum()
        for share in (0.95, 0.5):
            expected = probabilities[2:] >= share * probabilities[:2].max()
            np.testing.assert_array_equal(as_probable(listed, labelled, share), expected)
        assert as_probable(labelled, labelled, 1.0).any()


def test_what_a_teacher_takes_for_right_answers_is_counted_and_left_out(made, tmp_path):
    store, found = CorpusStore(made.paths.corpus), read(made, "of_scores")
    trained = TrainingQueries.of(made, "of_scores", store)
    lists = trained.groups
    right = {f"q{i}": found.get((f"q{i}", i)) for i in range(QUERIES)}
    pairs = [(query, row, score) for (query, row), score in found.items() if row != int(query[1:]) and right[query] is not None]
    record = record_of(made, "score_teacher.of_scores")
    counted = [record["metrics"][f"negatives_{what}"] for what in ("compared", "above", "close")]
    above = [score > right[query] for query, _, score in pairs]
    close = {(query, row): np.exp(score - right[query]) >= 0.95 for query, row, score in pairs}
    assert counted == [len(pairs), sum(above), sum(close.values())]
    assert sum(above) < sum(close.values()) < len(pairs)
    assert f"{sum(above) / len(pairs):.1%} of {len(pairs):,} negatives are above the positive" in record["notes"]["false negatives"]
    scores = TeacherScores.read(made.paths.teacher_scores("of_scores"), "of_scores", lists, tmp_path)
    left, counts = scored_only(trained, scores, 0.95)
    for query in left.seen.tolist():
        name = lists.query_ids[query]
        assert set(left.groups.negatives_of(query)) == {row for row in lists.negatives_of(query) if row % 5 and not close[name, int(row)]}
    assert counts.close == sum(flag for (name, _), flag in close.items() if name in {lists.query_ids[query] for query in left.seen.tolist()})
    assert settings_of(made.experiment, "score_teacher", "of_scores").get("teacher") == "scores"


def test_all_that_is_listed_is_scored_where_the_scores_decide(made):
    experiment = made.experiment
    student = experiment.models["of_identity"]
    drops = student.model_copy(update={"teacher_drop_above": 0.95})
    choosing = experiment.model_copy(update={"models": {**experiment.models, "of_identity": drops}})
    assert [teacher_scores_all(one, "of_identity") for one in (experiment, choosing)] == [False, True]
    assert [teacher_scores_all(experiment, name) for name in ("of_scores", "of_both")] == [True, True]
    # Another share needs no new scores.
    other = experiment.model_copy(update={"models": {**experiment.models, "of_identity": drops.model_copy(update={"teacher_drop_above": 0.5})}})
    assert settings_of(choosing, "score_teacher", "of_identity") == settings_of(other, "score_teacher", "of_identity")
    assert settings_of(choosing, "train", "of_identity") != settings_of(other, "train", "of_identity")
