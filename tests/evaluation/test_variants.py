"""Averages over seeds, their spread, and tests between variants."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from made_results import MadeResults
from scipy import stats

from simlm.cli import main
from simlm.config.experiment import Evaluate
from simlm.evaluation import compare
from simlm.evaluation.variants import VariantRow, VariantTest, read_variant_tests, read_variants, variant_rows, variant_tests, variants_of
from simlm.report.page import write_report
from simlm.stages.compare_systems import compare_systems

VARIANTS = {"bm25": ["bm25"], "first": ["first-s1", "first-s2", "first-s3"], "second": ["second-s1", "second-s2", "second-s3"]}
SETTINGS = Evaluate(systems=["bm25"], splits={"test": {}}, main_split="test", metrics=["RR@10", "AP"], resamples=200)


@pytest.fixture
def values() -> compare.Values:
    random = np.random.default_rng(0)
    systems = [system for members in VARIANTS.values() for system in members]
    return {system: {metric: random.random(50) + 0.05 * i for metric in SETTINGS.metrics} for i, system in enumerate(systems)}


def test_a_variant_is_the_mean_of_its_seeds_with_their_deviation(values):
    rows = {(row.variant, row.metric): row for row in variant_rows(values, VARIANTS, "test", SETTINGS, 1)}
    for name in ("first", "second"):
        averages = [values[system]["AP"].mean() for system in VARIANTS[name]]
        row = rows[name, "AP"]
        assert row.value == pytest.approx(np.mean(averages))
        assert row.spread == pytest.approx(np.std(averages, ddof=1))
        assert (row.runs, row.n_queries) == (3, 50)
        assert row.ci_low < row.value < row.ci_high
    assert math.isnan(rows["bm25", "AP"].spread)
    assert rows["bm25", "AP"].value == pytest.approx(values["bm25"]["AP"].mean())


def test_pairs_are_tested_over_queries_and_over_seeds_as_scipy_does(values):
    tests = {(row.system, row.against): row for row in variant_tests(values, VARIANTS, "test", SETTINGS, 1) if row.metric == "RR@10"}
    assert list(tests) == [("bm25", "first"), ("bm25", "second"), ("first", "second")]
    first, second = (np.stack([values[system]["RR@10"] for system in VARIANTS[name]]) for name in ("first", "second"))
    row = tests["first", "second"]
    assert row.p == pytest.approx(stats.ttest_rel(first.mean(0), second.mean(0)).pvalue)
    assert row.p_seeds == pytest.approx(stats.ttest_ind(first.mean(1), second.mean(1), equal_var=False).pvalue)
    assert row.difference == pytest.approx(first.mean() - second.mean())
    assert math.isnan(tests["bm25", "first"].p_seeds)
    assert tests["first", "second"].p_holm >= row.p


def test_tables_come_back(values, tmp_path):
    compare.write_rows(tmp_path / "variants.tsv", variant_rows(values, VARIANTS, "test", SETTINGS, 1), VariantRow)
    compare.write_rows(tmp_path / "tests.tsv", variant_tests(values, VARIANTS, "test", SETTINGS, 1), VariantTest)
    assert [row.runs for row in read_variants(tmp_path / "variants.tsv")] == [1, 1, 3, 3, 3, 3]
    back = read_variant_tests(tmp_path / "tests.tsv")
    assert len(back) == 6
    assert math.isnan(back[0].p_seeds)
    assert 0 < back[-1].p_seeds < 1


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Results with a variant of two systems, compared and reported."""
    variants = {"dense": ["retriever1", "retriever2"]}
    made = MadeResults(tmp_path_factory.mktemp("variants") / "results", variants=variants)
    compare_systems(made.context)
    write_report(made.context)
    return made


def test_the_stage_writes_both_tables_and_the_summary_shows_the_spread(made, capsys):
    assert list(variants_of(made.experiment)) == ["bm25", "control", "dense", "reranker", "distilled", "fusion"]
    rows = {(row.variant, row.split, row.metric): row for row in read_variants(made.paths.variants)}
    single = {(row.system, row.split, row.metric): row.value for row in compare.read_metrics(made.paths.metrics_table)}
    members = [single[name, "test", "RR@10"] for name in ("retriever1", "retriever2")]
    row = rows["dense", "test", "RR@10"]
    assert row.value == pytest.approx(np.mean(members), abs=1e-6)
    assert row.spread == pytest.approx(np.std(members, ddof=1), abs=1e-6)
    pairs = {(test.system, test.against) for test in read_variant_tests(made.paths.variant_tests)}
    assert len(pairs) == 15
    assert ("control", "dense") in pairs
    assert main(["summary", "--config", str(made.paths.config)]) == 0
    assert f"{row.value:.4f} ± {row.spread:.4f}" in capsys.readouterr().out


def test_the_report_has_one_table_one_figure_and_the_square_of_tests(made):
    page = made.paths.report.read_text(encoding="utf-8")
    section = page[page.index('<section id="variants">') :]
    section = section[: section.index("</section>")]
    row = next(row for row in read_variants(made.paths.variants) if (row.variant, row.split, row.metric) == ("dense", "test", "RR@10"))
    assert f"{row.value:.4f} ± {row.spread:.4f}" in section
    assert section.count("<svg") == 1
    assert section.count("<table") == 2
    assert section.count("p_seeds") == 0
    assert section.count('<span class="interval">p ') == 6 * 5, "read without a mouse"
    assert "title=" not in section
    assert not re.search(r"<th[^>]*>\s*</th>", section)
    assert (made.paths.root / "plots" / "RR@10_by_variant.svg").is_file()
