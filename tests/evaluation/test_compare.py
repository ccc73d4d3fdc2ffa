"""Tables over systems: pairs, tests, intervals, files."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from simlm.config.experiment import Evaluate
from simlm.errors import UserError
from simlm.evaluation import compare
from simlm.evaluation.files import read_per_query, write_evaluation
from simlm.evaluation.metrics import Evaluation
from simlm.evaluation.significance import holm
from simlm.evaluation.table import comparisons_text, metrics_text
from simlm.paths import Paths

SYSTEMS = ["bm25", "first", "second"]
PAIRS = [("first", "bm25"), ("second", "bm25"), ("second", "first")]


def settings(**changes) -> Evaluate:
    return Evaluate(**({"systems": SYSTEMS, "splits": {"test": {}}, "main_split": "test", "metrics": ["RR@10", "AP"], "resamples": 500} | changes))


@pytest.fixture
def values() -> compare.Values:
    random = np.random.default_rng(0)
    return {system: {metric: np.round(random.random(60) + 0.1 * i, 1) for metric in ("RR@10", "AP")} for i, system in enumerate(SYSTEMS)}


def write(paths: Paths, values: compare.Values, queries: list[str] | None = None) -> None:
    for system, columns in values.items():
        ids = queries or [f"q{i}" for i in range(len(columns["RR@10"]))]
        write_evaluation(paths.metrics(system, "test"), paths.per_query(system, "test"), Evaluation(ids, columns, 0, 0), {"system": system})


def test_rows_hold_what_scipy_says(values):
    rows = [row for row in compare.comparison_rows(values, "test", PAIRS, settings(), seed=1) if row.metric == "AP"]
    assert [(row.system, row.against) for row in rows] == [("first", "bm25"), ("second", "bm25"), ("second", "first")]
    expected = [stats.ttest_rel(values[row.system]["AP"], values[row.against]["AP"]).pvalue for row in rows]
    assert [row.p for row in rows] == pytest.approx(expected)
    assert [row.p_holm for row in rows] == pytest.approx(holm(expected))
    for row in rows:
        difference = values[row.system]["AP"] - values[row.against]["AP"]
        assert row.difference == pytest.approx(difference.mean())
        assert (row.wins, row.losses, row.ties, row.n, row.test) == ((difference > 0).sum(), (difference < 0).sum(), (difference == 0).sum(), 60, "t-test")


def test_randomisation_does_not_depend_on_the_other_systems(values):
    chosen = settings(test="randomisation")
    whole = {(row.system, row.against, row.metric): row.p for row in compare.comparison_rows(values, "test", PAIRS, chosen, seed=1)}
    part = compare.comparison_rows(values, "test", PAIRS[1:2], chosen, seed=1)
    assert {row.test for row in part} == {"randomisation"}
    for row in part:
        assert row.p == whole[row.system, row.against, row.metric]


def test_there_is_one_average_whatever_the_order_of_the_queries():
    values = np.random.default_rng(0).random(999)
    shuffled = {"s": {"RR@10": values[::-1].copy()}}
    exact = float(sum(map(Fraction, values.tolist()))) / 999
    assert Evaluation([], {"RR@10": values}, 0, 0).averages["RR@10"] == exact
    assert compare.average_rows(shuffled, "test", settings(), seed=1)[0].value == exact


def test_averages_and_intervals(values):
    rows = compare.average_rows(values, "test", settings(), seed=1)
    assert [(row.system, row.metric) for row in rows] == [(system, metric) for system in SYSTEMS for metric in ("RR@10", "AP")]
    for row in rows:
        assert row.value == pytest.approx(values[row.system][row.metric].mean())
        assert row.ci_low < row.value < row.ci_high
        assert row.n_queries == 60


def test_files_come_back_and_are_the_same_bytes(values, tmp_path):
    rows, tests = compare.average_rows(values, "test", settings(), seed=1), compare.comparison_rows(values, "test", PAIRS, settings(), seed=1)
    compare.write_rows(tmp_path / "metrics.tsv", rows, compare.MetricRow)
    compare.write_rows(tmp_path / "comparisons.tsv", tests, compare.ComparisonRow)
    assert (tmp_path / "metrics.tsv").read_text().splitlines()[0] == "system\tsplit\tmetric\tvalue\tci_low\tci_high\tn_queries"
    assert (tmp_path / "comparisons.tsv").read_text().splitlines()[0] == "system\tagainst\tsplit\tmetric\tdifference\tp\tp_holm\ttest\tn\twins\tlosses\tties"
    back = compare.read_rows(tmp_path / "metrics.tsv", compare.MetricRow)
    assert [row.value for row in back] == pytest.approx([row.value for row in rows], abs=1e-6)
    assert compare.read_rows(tmp_path / "comparisons.tsv", compare.ComparisonRow)[0].wins == tests[0].wins
    compare.write_rows(tmp_path / "again.tsv", back, compare.MetricRow)
    assert (tmp_path / "again.tsv").read_bytes() == (tmp_path / "metrics.tsv").read_bytes()


def test_per_query_files_keep_every_bit(values, tmp_path):
    paths = Paths(tmp_path)
    exact = {"bm25": {"RR@10": np.array([1 / 3, 0.1]), "AP": np.array([0.0, 1.0])}}
    write(paths, exact)
    ids, columns = read_per_query(paths.per_query("bm25", "test"))
    assert ids == ["q0", "q1"]
    assert {name: column.tolist() for name, column in columns.items()} == {"RR@10": [1 / 3, 0.1], "AP": [0.0, 1.0]}


def test_other_queries_missing_metrics_and_truncation_are_refused(values, tmp_path):
    paths = Paths(tmp_path)
    write(paths, values)
    assert list(compare.read_values(paths, SYSTEMS, "test", ["AP"])["first"]) == ["AP"]
    with pytest.raises(UserError, match="has no values of P@3"):
        compare.read_values(paths, SYSTEMS, "test", ["AP", "P@3"])
    write(paths, {"second": values["second"]}, [f"other{i}" for i in range(60)])
    with pytest.raises(UserError, match=r"second.*is about other queries than .*bm25"):
        compare.read_values(paths, SYSTEMS, "test", ["AP"])
    file = paths.per_query("second", "test")
    file.write_text(file.read_text()[:-4])
    with pytest.raises(UserError, match="truncated"):
        compare.read_values(paths, SYSTEMS, "test", ["AP"])
    file.unlink()
    with pytest.raises(UserError, match="run simlm evaluate first"):
        compare.read_values(paths, SYSTEMS, "test", ["AP"])


def test_foreign_tables_are_refused(tmp_path):
    (tmp_path / "x.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(UserError, match="truncated or foreign"):
        compare.read_rows(tmp_path / "x.tsv", compare.MetricRow)


def test_printed_tables(values):
    rows, tests = compare.average_rows(values, "test", settings(), seed=1), compare.comparison_rows(values, "test", PAIRS, settings(), seed=1)
    table = metrics_text(rows, ["test"]).splitlines()
    assert table[0].split() == ["test", "(60", "queries)", "MRR@10", "MAP"]
    assert [line.split()[1] for line in table[1:]] == SYSTEMS
    comparison = comparisons_text(tests, "test", "AP").splitlines()
    assert len(comparison) == 4
    assert comparison[1].split()[:2] == ["first", "bm25"]
