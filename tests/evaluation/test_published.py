"""Published figures: well formed, and given only where they can be compared."""

from __future__ import annotations

import pytest

from simlm.config.load import validate
from simlm.config.metrics import by_answers, canonical_metric
from simlm.config.published import FILE, NATURAL_QUESTIONS, counterparts, load_published, published_for
from simlm.errors import UserError
from simlm.evaluation.metrics import parse_metrics


def experiment(**corpus):
    block = {
        "source": "ir_datasets",
        "passages": "msmarco-passage",
        "splits": {"small": "msmarco-passage/dev/small", "dl19": "msmarco-passage/trec-dl-2019/judged", "train": "msmarco-passage/train/judged"},
    }
    return validate(
        {
            "name": "m",
            "corpus": block | corpus,
            "models": {"retriever1": {"kind": "biencoder", "init": "google-bert/bert-base-uncased", "steps": 1, "negatives": "bm25"}},
            "evaluate": {"systems": ["bm25", "retriever1"], "splits": {"small": {}, "dl19": {"relevance": 2}}, "main_split": "small"},
        }
    )


def test_figures_of_ms_marco_by_the_experiments_split_names():
    figures = {(one.system, one.split, one.metric): one.value for one in published_for(experiment())}
    assert figures["SimLM distilled", "small", "RR@10"] == 0.411
    assert figures["SimLM distilled", "dl19", "nDCG@10"] == 0.714
    assert figures["BM25 (Lucene)", "small", "R@1000"] == 0.857
    assert not any(split == "dl20" for _, split, _ in figures)
    assert {one.counterpart for one in published_for(experiment())} >= {"bm25", "retriever1", "distilled", None}


@pytest.mark.parametrize(
    "corpus",
    [
        {"passages": "beir/nfcorpus"},
        {"max_passages": 1000},
        {"splits": {"small": "msmarco-passage/dev", "dl19": "msmarco-passage/dev", "train": "msmarco-passage/train"}},
    ],
)
def test_nothing_where_figures_cannot_be_compared(corpus):
    assert published_for(experiment(**corpus)) == []


def test_nothing_for_a_split_that_was_cut():
    assert {one.split for one in published_for(experiment(max_queries={"small": 100}))} == {"dl19"}


@pytest.mark.parametrize("file", [FILE, NATURAL_QUESTIONS], ids=lambda file: file.stem)
def test_file_is_well_formed(file):
    content = load_published(file)
    for entry in content["systems"]:
        assert entry["source"] in content["sources"]
        assert entry["titles"] in ("none", "rocketqa", "wikipedia")
        assert set(entry["metrics"]) <= set(content["splits"])
        for metrics in entry["metrics"].values():
            parse_metrics(metric for metric in metrics if not by_answers(metric))
            assert all(metric == canonical_metric(metric) for metric in metrics)
            assert all(0 < value < 1 for value in metrics.values())


def questions(**corpus):
    block = {
        "source": "ir_datasets",
        "passages": "dpr-w100",
        "splits": {"train": "dpr-w100/natural-questions/train"},
        "questions": {"asked": "/somewhere/else/nq-test.qa.csv"},
    }
    models = {"retriever2": {"kind": "biencoder", "init": "google-bert/bert-base-uncased", "steps": 1, "negatives": "bm25"}}
    evaluate = {"systems": ["bm25", "retriever2"], "splits": {"asked": {}}, "main_split": "asked", "main_metric": "Answer@20", "metrics": ["Answer@20"]}
    return validate({"name": "nq", "corpus": block | corpus, "models": models, "evaluate": evaluate})


def test_natural_questions_have_a_file_of_their_own():
    figures = {(one.system, one.split, one.metric): one for one in published_for(questions())}
    assert figures["SimLM distilled", "asked", "Answer@20"].value == 0.852
    assert figures["DPR", "asked", "Answer@100"].value == 0.854
    assert {one.titles for one in figures.values()} == {"wikipedia"}
    assert {one.queries for one in figures.values()} == {3610}
    assert [(system, one.metric, one.value) for system, one in counterparts(questions())] == [
        ("bm25", "Answer@20", 0.629),
        ("retriever2", "Answer@20", 0.843),
    ]
    assert published_for(questions(questions={"asked": "other.csv"})) == []
    assert published_for(experiment())[0].source != published_for(questions())[0].source


@pytest.mark.parametrize(
    ("evaluate", "sentence"),
    [
        ({"metrics": ["Answer@20", "RR@10"]}, "RR@10 needs judged passages, but the split 'asked' has answers alone"),
        ({"splits": {"asked": {}, "train": {}}, "metrics": ["Answer@20", "R@10"]}, "R@10 needs judged passages"),
    ],
)
def test_a_metric_that_a_split_cannot_be_judged_by_is_refused(evaluate, sentence):
    values = questions().model_dump(mode="json")
    values["evaluate"] |= evaluate
    with pytest.raises(UserError, match=sentence):
        validate(values)


def test_answers_are_refused_where_questions_have_none():
    values = experiment().model_dump(mode="json")
    values["evaluate"]["metrics"].append("Answer@20")
    with pytest.raises(UserError, match="Answer@20 is judged by the answers of questions, which the split 'small' does not have"):
        validate(values)
    values["evaluate"]["metrics"].pop()
    values["negatives"]["answers"] = "left_out"
    with pytest.raises(UserError, match="the queries of the split 'train' come without answers"):
        validate(values)


def test_a_probe_is_not_asked_of_questions_that_only_have_answers():
    values = questions().model_dump(mode="json")
    probe = {"every_steps": 1, "split": "asked", "queries": 5, "passages": 30}
    values["models"]["simlm"] = {"kind": "bottleneck", "init": "a/b", "generator": "c/d", "steps": 1, "probe": probe}
    with pytest.raises(UserError, match=r"models\.simlm\.probe\.split: the split 'asked' has answers alone"):
        validate(values)
