"""Any two systems of an experiment: scipy's own test, the interval of the normal distribution, and the blocks of the configuration."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
from made_results import MadeResults
from scipy import stats

from simlm.evaluation.files import read_per_query
from simlm.evaluation.numbers import signed
from simlm.report.page import write_report
from simlm.report.pairs import MOST, pairs


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> MadeResults:
    """Values per query of their own for every system, so that differences differ."""
    made, draw = MadeResults(tmp_path_factory.mktemp("pairs") / "results"), np.random.default_rng(5)
    for number, system in enumerate(made.experiment.evaluate.systems):
        queries = len(made.queries["test"])
        made.per_query(system, "test", {metric: (draw.random(queries) ** (1 + number / 3)).tolist() for metric in made.experiment.evaluate.metrics})
    return made


def test_every_two_systems_are_tested_on_the_same_queries(made):
    evaluate, found = made.experiment.evaluate, pairs(made.context)
    assert {(pair.test.against, pair.test.system) for pair in found} == set(combinations(evaluate.systems, 2))
    ps = []
    for pair in found:
        one, two = (read_per_query(made.paths.per_query(name, "test"))[1][evaluate.main_metric] for name in (pair.test.system, pair.test.against))
        expected = stats.ttest_rel(one, two)
        ps.append(expected.pvalue)
        assert (pair.test.difference, pair.test.p) == pytest.approx((np.mean(one - two), expected.pvalue))
        assert (pair.low, pair.high) == pytest.approx(stats.norm.interval(0.95, np.mean(one - two), stats.sem(one - two)), abs=0.05)
        assert pair.low < pair.test.difference < pair.high
    smallest = min(found, key=lambda pair: pair.test.p)
    assert smallest.test.p_holm == pytest.approx(min(1, min(ps) * len(found))), "Holm's correction counts all pairs"


def test_settings_are_those_of_the_two_blocks(made):
    found = {(pair.test.system, pair.test.against): pair for pair in pairs(made.context)}
    for (system, against), pair in found.items():
        blocks = [made.experiment.system(name) for name in (system, against)]
        one, two = (block.model_dump(mode="json", exclude=set(block.how_not_what)) for block in blocks)
        named = {name.partition(".")[0] for name, _, _ in pair.settings}
        assert named == {key for key in one.keys() | two.keys() if one.get(key) != two.get(key)}


def test_page_and_file_say_the_same(made):
    html = write_report(made.context).read_text(encoding="utf-8")
    section = html.split('<section id="pairs">')[1].split("</section>")[0]
    stored = json.loads(made.paths.pairs.read_text())["pairs"]
    assert section.count("<details") == section.count("</details>") == len(stored) == len(list(combinations(made.experiment.evaluate.systems, 2)))
    for one in stored:
        assert signed(one["difference"]) in section
        assert one["text"].startswith(f"{signed(one['difference'])} [{signed(one['low'])}, {signed(one['high'])}] MRR@10 on test, p ")
    assert 'href="#pairs"' in html


def test_too_many_systems_or_lost_values_leave_it_out(made):
    systems = [f"s{i}" for i in range(MOST + 1)]
    many = made.experiment.model_copy(update={"evaluate": made.experiment.evaluate.model_copy(update={"systems": systems})})
    assert pairs(type(made.context)(many, made.paths)) == []
    file = made.paths.per_query(made.experiment.evaluate.systems[0], "test")
    whole = file.read_text()
    file.unlink()
    try:
        assert pairs(made.context) == []
    finally:
        file.write_text(whole)
