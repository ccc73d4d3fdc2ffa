"""Metrics against their formulas and pytrec_eval; ties, missing queries and relevance levels."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import pytrec_eval

from simlm.config.metrics import ALIASES, ANSWER, NEEDS_DEPTH
from simlm.errors import UserError
from simlm.evaluation import metrics
from simlm.evaluation.metrics import evaluate_run, parse_metrics
from simlm.runs.runs import TrecRanking

NAMES = ["RR@10", "R@50", "R@1000", "nDCG@10", "AP"]


def ranking(query_id: str, ids: list[str], scores=None) -> TrecRanking:
    return TrecRanking(query_id, ids, np.array(scores if scores is not None else range(len(ids), 0, -1), dtype=np.float64))


def judged(ids: list[str], qrels: dict[str, int], level: int = 1, names=NAMES) -> dict[str, float]:
    return evaluate_run([ranking("q", ids)], {"q": qrels}, parse_metrics(names, level)).averages


def by_hand(ids: list[str], qrels: dict[str, int], level: int) -> dict[str, float]:
    """The formulas, in rank order."""
    relevant = {one for one, grade in qrels.items() if grade >= level}
    hits = [i for i, one in enumerate(ids, 1) if one in relevant]
    ideal = sorted(qrels.values(), reverse=True)
    gain = sum(max(qrels.get(one, 0), 0) / math.log2(i + 1) for i, one in enumerate(ids[:10], 1))
    best = sum(max(grade, 0) / math.log2(i + 1) for i, grade in enumerate(ideal[:10], 1))
    return {
        "RR@10": 1 / hits[0] if hits and hits[0] <= 10 else 0.0,
        "R@50": sum(i <= 50 for i in hits) / len(relevant) if relevant else 0.0,
        "R@1000": sum(i <= 1000 for i in hits) / len(relevant) if relevant else 0.0,
        "nDCG@10": gain / best if best else 0.0,
        "AP": sum(n / i for n, i in enumerate(hits, 1)) / len(relevant) if relevant else 0.0,
    }


@pytest.fixture
def random_data():
    random = np.random.default_rng(3)
    names = [f"d{i}" for i in range(300)]
    run, qrels = [], {}
    for q in range(40):
        ids = [names[i] for i in random.permutation(300)[: random.integers(1, 200)]]
        run.append(ranking(f"q{q}", ids, np.sort(random.normal(size=len(ids)))[::-1]))
        qrels[f"q{q}"] = {names[i]: int(random.integers(0, 4)) for i in random.permutation(300)[: random.integers(1, 30)]}
    return run, qrels


@pytest.mark.parametrize("level", [1, 2, 3])
def test_formulas(random_data, level):
    run, qrels = random_data
    found = evaluate_run(run, qrels, parse_metrics(NAMES, level))
    for i, one in enumerate(run):
        expected = by_hand(one.ids, qrels[one.query_id], level)
        assert {name: found.values[name][i] for name in NAMES} == pytest.approx(expected, abs=1e-12)


def test_pytrec_eval_on_a_run_without_ties(random_data):
    run, qrels = random_data
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {"map", "recall_50", "ndcg_cut_10"}, relevance_level=2)
    theirs = evaluator.evaluate({one.query_id: dict(zip(one.ids, one.scores.tolist())) for one in run})
    mine = evaluate_run(run, qrels, parse_metrics(["AP", "R@50", "nDCG@10"], 2))
    for name, their in (("AP", "map"), ("R@50", "recall_50"), ("nDCG@10", "ndcg_cut_10")):
        np.testing.assert_allclose(mine.values[name], [theirs[query_id][their] for query_id in mine.query_ids], atol=1e-12)


@pytest.mark.parametrize("scores", [[1.0, 1.0, 1.0], [1.0 + 2e-12, 1.0 + 1e-12, 1.0]])
@pytest.mark.parametrize("ids", [["a", "b", "c"], ["c", "b", "a"]])
def test_equal_scores_keep_the_order_of_the_file(ids, scores):
    found = evaluate_run([ranking("q", ids, scores)], {"q": {"b": 1}}, parse_metrics(["RR@10", "RR", "AP", "nDCG@10", "Success@2", "P@1"])).averages
    assert found == pytest.approx({"RR@10": 0.5, "RR": 0.5, "AP": 0.5, "nDCG@10": 1 / math.log2(3), "Success@2": 1.0, "P@1": 0.0})


def test_scores_count_before_the_order_of_the_lines():
    assert evaluate_run([ranking("q", ["a", "b"], [0.1, 0.2])], {"q": {"b": 1}}, parse_metrics(["RR@10"])).averages == {"RR@10": 1.0}


def test_missing_queries_count_as_zero_and_unjudged_ones_do_not_count():
    run = [ranking("here", ["a"]), ranking("unjudged", ["a"])]
    found = evaluate_run(run, {"absent": {"a": 1}, "here": {"a": 1}, "nothing relevant": {"a": 0}}, parse_metrics(["RR@10", "R@50"]))
    assert found.query_ids == ["absent", "here", "nothing relevant"]
    assert found.values["RR@10"].tolist() == [0.0, 1.0, 0.0]
    assert found.averages == pytest.approx({"RR@10": 1 / 3, "R@50": 1 / 3})
    assert (found.missing, found.ignored) == (2, 1)


def test_an_empty_run_and_a_foreign_one_are_refused():
    with pytest.raises(UserError, match="the run is empty"):
        evaluate_run([], {"q": {"a": 1}}, parse_metrics(["AP"]))
    with pytest.raises(UserError, match="none of the run's queries is judged"):
        evaluate_run([ranking("x", ["a"])], {"q": {"a": 1}}, parse_metrics(["AP"]))


def test_relevance_levels():
    qrels = {"a": 1, "b": 2}
    assert judged(["a", "b"], qrels, 1)["RR@10"] == 1.0
    assert judged(["a", "b"], qrels, 2)["RR@10"] == 0.5
    assert judged(["a", "b"], qrels, 1)["nDCG@10"] == judged(["a", "b"], qrels, 2)["nDCG@10"] < 1
    assert {name: str(measure) for name, measure in parse_metrics(["RR@10", "AP"], 2, 1).items()} == {"RR@10": "RR@10", "AP": "AP(rel=2)"}


def test_two_names_of_one_measure():
    assert judged(["x", "a"], {"a": 1}, names=["RR@10", "RR(rel=1)@10"]) == {"RR@10": 0.5, "RR(rel=1)@10": 0.5}


def test_judged_only_looks_below_its_cutoff():
    assert judged(["x", "y", "a"], {"a": 1}, names=["P(judged_only=True)@1", "P@1"]) == {"P(judged_only=True)@1": 1.0, "P@1": 0.0}


def test_groups_of_queries_change_nothing(random_data, monkeypatch):
    run, qrels = random_data
    whole = evaluate_run(run, qrels, parse_metrics(NAMES))
    monkeypatch.setattr(metrics, "QUERIES_AT_ONCE", 7)
    for name, values in evaluate_run(iter(run), qrels, parse_metrics(NAMES)).values.items():
        np.testing.assert_array_equal(values, whole.values[name])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("RRR@10", "no metric is called 'RRR@10'; did you mean 'RR@10'"),
        ("R@fifty", "no metric is called 'R@fifty'"),
        ("nDGC@10", "did you mean 'nDCG@10'"),
        ("Foo@10", "no metric is called 'Foo@10'"),
        ("RR(depth=3)@10", "is not a metric of ir-measures"),
        ("ERR@20", "'ERR@20' is not computed here: ir-measures leaves it to a Perl script"),
        ("nDCG(dcg='exp-log2')@10", "is not computed here"),
        ("Accuracy@10", "the share of queries with a relevant passage is Success@10"),
        ("R", "'R' lacks its depth; write R@10"),
        ("Rprec@10", "which Rprec does not take"),
        ("MRR@", "no metric is called 'MRR@'"),
        ("RR@0", "the depth must be a whole number above 0"),
        ("RR@2.5", "the depth must be a whole number above 0"),
    ],
)
def test_unknown_metrics_are_refused(name, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        parse_metrics([name])


@pytest.mark.parametrize(
    ("names", "canonical"),
    [
        (("RR@10", "MRR@10", "mrr@10", "mrr_10", "MRR_cut_10", "mrr_at_10", "recip_rank@10"), "RR@10"),
        (("AP", "map", "MAP"), "AP"),
        (("map_cut_100", "map_at_100", "MAP@100"), "AP@100"),
        (("nDCG@10", "ndcg_cut_10", "ndcg_cut.10", "ndcg_at_10", "NDCG@10", "ndcg@10"), "nDCG@10"),
        (("R@1000", "R@1k", "recall@1K", "recall_1000", "recall_at_1000", "Recall@1000"), "R@1000"),
        (("P@5", "P_5", "precision@5", "prec@5"), "P@5"),
        (("Success@1", "success_1", "hit@1", "Hits@1", "hit_rate@1", "hit_rate_at_1", "HitRate@1"), "Success@1"),
        (("Rprec", "R-prec"), "Rprec"),
        (("IPrec@0.1", "iprec_at_recall_0.1"), "IPrec@0.1"),
    ],
)
def test_usual_names(names, canonical):
    for name in names:
        assert list(parse_metrics([name])) == [canonical]
    if canonical.startswith(("RR", "AP", "nDCG", "P@", "Success")):
        # The same value by another name of ir-measures' own provider, pytrec_eval, for a run of two and a relevant second.
        found = evaluate_run([TrecRanking("q", ["a", "b"], np.array([2.0, 1.0]))], {"q": {"b": 1}}, parse_metrics([names[-1]]))
        wanted = {"RR@10": 0.5, "AP": 0.5, "AP@100": 0.5, "nDCG@10": 1 / np.log2(3), "P@5": 0.2, "Success@1": 0.0}[canonical]
        assert found.averages == {canonical: pytest.approx(wanted)}


def test_every_name_offered_is_computed():
    """All of ir-measures' measures that its providers compute here for any ids, and no other."""
    for name in ALIASES.keys() - {ANSWER}:  # which is judged by answers
        metric = f"{name}@10" if name in NEEDS_DEPTH and name != "IPrec" else "IPrec@0.1" if name == "IPrec" else name
        run = [TrecRanking("q 1", ["a", "b"], np.array([2.0, 1.0]))]
        assert np.isfinite(list(evaluate_run(run, {"q 1": {"b": 1}, "other": {"b": 1}}, parse_metrics([metric])).averages.values())).all()
