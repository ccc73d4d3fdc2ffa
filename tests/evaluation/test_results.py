"""The one table: letters for significant differences, and figures that print alike everywhere."""

from __future__ import annotations

from fractions import Fraction

import pytest

from simlm.config.graph import compared_pairs
from simlm.evaluation.compare import ComparisonRow, MetricRow, read_metrics, write_rows
from simlm.evaluation.numbers import figure
from simlm.evaluation.results import letters_of, result_rows
from simlm.evaluation.table import metrics_text

AVERAGES = {"bm25": 0.50, "first": 0.40, "second": 0.55, "fusion": 0.55}
ROWS = [MetricRow(system, "test", "RR@10", value, value - 0.05, value + 0.05, 80) for system, value in AVERAGES.items()]


def pair(system: str, against: str, p_holm: float, split: str = "test") -> ComparisonRow:
    return ComparisonRow(system, against, split, "RR@10", AVERAGES[system] - AVERAGES[against], p_holm / 3, p_holm, "t-test", 80, 1, 1, 78)


TESTS = [pair("first", "bm25", 0.001), pair("second", "bm25", 0.06), pair("second", "first", 0.0499), pair("fusion", "second", 0.9)]
TESTS += [pair("fusion", "bm25", 0.02), pair("fusion", "first", 0.001, split="dev")]


def test_letters_are_those_of_significantly_different_counterparts():
    marks = {row.system: (row.letter, row.cells["RR@10"].marks) for row in result_rows(ROWS, TESTS, "test")}
    # By hand: 0.06 is not below 0.05; the difference on dev says nothing about test; equal systems are not marked.
    assert marks == {"bm25": ("a", ""), "first": ("b", "<a"), "second": ("c", ">b"), "fusion": ("d", ">a")}
    assert [row.system for row in result_rows(ROWS, TESTS, "test") if row.cells["RR@10"].best] == ["second", "fusion"]


def test_more_systems_than_letters_keep_them_apart():
    assert len(set(letters_of(map(str, range(80))).values())) == 80


def test_a_re_ranker_is_tested_against_the_list_it_sorts_and_no_other(made):
    pairs = compared_pairs(made.experiment)
    for name in made.experiment.evaluate.systems:
        builds_on = {"bm25": [], "control": [], "retriever1": ["control"], "retriever2": ["retriever1"], "reranker": ["retriever2"]}
        builds_on |= {"distilled": ["retriever2"], "fusion": ["distilled"]}
        expected = {"bm25", *builds_on[name]} - {name}
        assert {against for system, against in pairs if system == name} == expected


@pytest.mark.parametrize("value", [0.62354999, 0.6235500001, 0.62355, 0.623549, 0.00005, 0.99995, 1.0, 0.0])
def test_a_figure_prints_the_same_before_it_is_written_and_after(value, tmp_path):
    write_rows(tmp_path / "metrics.tsv", [MetricRow("bm25", "test", "AP", value, 0.0, 1.0, 3)], MetricRow)
    read = read_metrics(tmp_path / "metrics.tsv")[0].value
    assert figure(read) == figure(value)
    stored = round(Fraction(value) * 10**6)
    assert figure(value) == f"{(stored + 50) // 100 / 10**4:.4f}", "half of the last digit is rounded upwards"


def test_the_printed_table_breaks_where_the_terminal_ends():
    rows = [MetricRow(row.system, "test", metric, row.value, row.ci_low, row.ci_high, 80) for metric in ("RR@10", "R@50", "nDCG@10", "AP") for row in ROWS]
    whole, narrow = metrics_text(rows, ["test"], TESTS), metrics_text(rows, ["test"], TESTS, width=60)
    assert max(map(len, narrow.splitlines())) <= 60 < max(map(len, whole.splitlines()))
    words = [word for word in whole.split() if word[0].isdigit() or word[0] in "<>"]
    assert sorted(words) == sorted(word for word in narrow.split() if word[0].isdigit() or word[0] in "<>")
    assert "0.5500 [0.500, 0.600] >b" in whole
