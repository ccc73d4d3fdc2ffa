"""Published figures: well formed, and given only where they can be compared."""

from __future__ import annotations

import pytest

from simlm.config.load import validate
from simlm.config.published import load_published, published_for
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


def test_file_is_well_formed():
    content = load_published()
    for entry in content["systems"]:
        assert entry["source"] in content["sources"]
        assert entry["titles"] in ("none", "rocketqa")
        assert set(entry["metrics"]) <= set(content["splits"])
        for metrics in entry["metrics"].values():
            parse_metrics(metrics)
            assert all(0 < value < 1 for value in metrics.values())
