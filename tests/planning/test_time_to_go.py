"""Time to go, on the timings of a run that was recorded: how far it is from the truth from a third of the run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlm.config import load_experiment
from simlm.paths import Paths
from simlm.planning.remaining import Expected, Remaining

ROOT = Path(__file__).resolve().parents[2]
RECORDED = """
prepare_corpus 31.1 1 59
index_bm25 19.8 59 98
train_tokenizer 10.1 59 76
search_bm25 3.2 98 133
train.simlm 232.7 133 322
mine_negatives.bm25 5.6 322 333
train.retriever1 116.8 333 481
train.control 128.9 333 481
encode.retriever1.2-of-2 13.2 481 491
encode.retriever1.1-of-2 13.2 481 496
train.reranker 137.5 491 638
build_index.retriever1 1.1 496 498
search_index.retriever1 7.2 498 507
mine_negatives.retriever1 5.6 507 517
train.retriever2 116.8 517 652
rerank.reranker 27.3 638 673
encode.retriever2.2-of-2 13.2 652 665
encode.retriever2.1-of-2 13.2 665 681
encode.control.2-of-2 12.6 673 684
build_index.retriever2 1.1 681 683
search_index.retriever2 7.2 683 696
encode.control.1-of-2 12.6 684 696
mine_negatives.retriever2 5.6 696 706
build_index.control 1.1 696 698
search_index.control 2.3 698 703
score_teacher.distilled 25.3 706 753
train.distilled 100.2 753 917
encode.distilled.2-of-2 12.6 917 931
encode.distilled.1-of-2 12.6 917 930
build_index.distilled 1.1 931 932
search_index.distilled 2.3 932 935
fuse.fusion 2.8 935 942
evaluate 6.4 942 959
compare_systems 2.1 960 961
report 8.3 961 973
track 10.1 973 988
"""
"""The default on two cores that other work shared: job, seconds by the plan, start and end in seconds after the start of the run."""
START_UP = 8.0
"""Seconds before a training or an embedding says its first share."""


@pytest.fixture(scope="module")
def recorded() -> dict[str, tuple[float, float, float]]:
    lines = [line.split() for line in RECORDED.split("\n") if line]
    return {label: (float(plan), float(start), float(end)) for label, plan, start, end in lines}


@pytest.fixture(scope="module")
def remaining(recorded, tmp_path_factory) -> Remaining:
    made = Remaining(load_experiment(ROOT / "config/config.yaml"), Paths(tmp_path_factory.mktemp("none")), 2, 0, before={})
    made.expected = {**made.expected, **{label: Expected(plan, False) for label, (plan, _, _) in recorded.items()}}
    return made


def says(remaining: Remaining, recorded: dict, now: float) -> float:
    """What would have been said ``now`` seconds after the start."""
    done = {label: end - start for label, (_, start, end) in sorted(recorded.items(), key=lambda item: item[1][2]) if end <= now}
    running = {}
    for label, (_, start, end) in recorded.items():
        if start <= now < end:
            share = max(0.0, (now - start - START_UP) / (end - start - START_UP)) if label.startswith(("train.", "encode.")) else None
            running[label] = (now - start, share)
    return remaining.seconds([label for label, (_, start, _) in recorded.items() if start > now], running, done)


def test_it_is_right_within_half_as_much_again(remaining, recorded):
    """Within 1.55, to be exact: until a third most was one long training that took less than planned, and all that followed took more."""
    last = max(end for _, _, end in recorded.values())
    factors = {now: says(remaining, recorded, now) / (last - now) for now in range(round(last / 3), round(0.95 * last), 45)}
    assert len(factors) > 12
    assert all(1 / 1.55 < factor < 1.55 for factor in factors.values()), factors


def test_what_a_job_has_shown_of_its_speed_counts_more_than_the_plan(remaining):
    """A third of an embedding took a hundred times as long as planned for the whole: the other two thirds will not be done in no time."""
    label = "encode.distilled.1-of-2"
    plan = remaining.expected[label].seconds
    assert remaining.seconds([], {label: (100 * plan, 1 / 3)}, {}) == pytest.approx(200 * plan, rel=0.1)
