"""Weights of a fusion: the formula, what chooses them, and which jobs a fusion that is mined or chooses brings."""

from __future__ import annotations

import copy
import json
from fractions import Fraction

import numpy as np
import pytest
from made_results import made_configuration

from simlm.config import validate
from simlm.config.graph import minable, needed_models, searched_for_training, trainings_behind
from simlm.config.inputs import inputs_of, outputs_of
from simlm.config.jobs import Job, jobs
from simlm.context import Context
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.errors import UserError
from simlm.paths import Paths
from simlm.retrieval.fusion import fuse_rankings
from simlm.retrieval.weights import FEWEST, candidates, weights_of
from simlm.runs.negatives import MinedQuery, MiningCounts, write_negatives
from simlm.runs.runs import Ranking, read_train_run, read_trec_run, write_train_run, write_trec_run
from simlm.stages.fuse import fuse
from simlm.training.groups import query_key
from simlm.training.queries import unseen_queries

QUERIES, PASSAGES = 300, 40


def test_a_weighted_sum_of_reciprocal_ranks():
    rankings, weights, k = [np.array([4, 9, 1]), np.array([9, 2]), np.array([7])], (0.75, 0.25, 0.0), 3
    exact: dict[int, Fraction] = {}
    for ranking, weight in zip(rankings, weights):
        for rank, row in enumerate(ranking.tolist(), 1):
            exact[row] = exact.get(row, Fraction(0)) + Fraction(weight) / (k + rank)
    rows, scores = fuse_rankings(rankings, k, weights=weights)
    assert 7 not in rows.tolist()  # what counts nothing adds nothing
    assert rows.tolist() == sorted((row for row in exact if exact[row]), key=lambda row: (-exact[row], row))
    np.testing.assert_allclose(scores, [float(exact[row]) for row in rows.tolist()], rtol=1e-15)


def test_all_weights_are_tried_once_and_equal_ones_first():
    for parts in (2, 3, 4):
        tried = list(candidates(parts))
        assert len(set(tried)) == len(tried)
        assert all(sum(weights) == pytest.approx(1) for weights in tried)
        assert {weights for weights in tried if max(weights) == 1} == set(candidates(parts, best_alone=True))
    assert next(iter(candidates(2))) == (0.5, 0.5)


@pytest.fixture
def context(tmp_path):
    """Two systems behind a fusion: ``good`` has each query's passage first, ``bad`` has it nowhere, and nobody else's."""
    passages = [(f"p{i}", "", f"text {i}") for i in range(PASSAGES)]
    names = [f"q{i}" for i in range(QUERIES)]
    splits = {
        split: ([(f"{split}-{name}", name) for name in names], [(f"{split}-{q}", f"p{20 + i % 20}", 1) for i, q in enumerate(names)])
        for split in ("train", "test")
    }
    block = {"kind": "biencoder", "init": "owner/encoder", "negatives": "bm25", "epochs": 1, "hard_negatives": 1, "holdout": 200}
    values = made_configuration(
        tmp_path,
        models={
            "good": block,
            "bad": {**block, "seed": None},
            "fusion": {"kind": "fusion", "of": ["good", "bad"], "weights": "auto", "k": 1},
            "better": {"kind": "fusion", "of": ["bad", "good"], "weights": "best"},
            "last": {**block, "negatives": "better"},
        },
        negatives={"depth": 10, "sample": 5, "pad_to": 5},
    )
    values["evaluate"] |= {
        "systems": ["bm25", "good", "bad", "fusion", "last"],
        "splits": {"test": {}},
        "main_metric": "RR@10",
        "depth": 10,
        "metrics": ["RR@10"],
    }
    experiment = validate(values)
    context = Context(experiment, Paths(tmp_path / experiment.name))
    write_corpus(context.paths.corpus, passages, splits, {"source": "mine"})
    store = CorpusStore(context.paths.corpus)
    random = np.random.default_rng(0)
    for split in splits:
        for name in ("good", "bad"):
            runs = []
            for i in range(QUERIES):
                wrong = random.permutation(10)[:9]
                runs.append(
                    Ranking(
                        f"{split}-q{i}", np.array([20 + i % 20, *(10 + wrong)] if name == "good" else wrong), -np.arange(10.0)[: 10 if name == "good" else 9]
                    )
                )
            if split == "train":
                write_train_run(context.paths.train_run(name), runs, system=name, depth=10, corpus_sha256=store.sha256)
            else:
                write_trec_run(context.paths.run(name, split), runs, store, tag=name)
    listed = [MinedQuery(f"train-q{i}", np.array([20 + i % 20]), np.array([1, 2, 3])) for i in range(QUERIES)]
    write_negatives(context.paths.negatives("bm25"), listed, {"corpus_sha256": store.sha256}, MiningCounts(queries=QUERIES))
    return context


def test_the_choice_is_what_a_search_by_hand_finds(context, capsys):
    """``good`` is right everywhere: any share above a half is as good, and the most equal of those is taken (at equal shares the smaller row comes first)."""
    fuse(context, "fusion")
    record = json.loads(context.paths.record("fuse.fusion").read_text())
    first = next(w for w in candidates(2) if w[0] / 2 > w[1] / 2)  # k = 1: rank 1 of good against rank 1 of bad
    assert (record["metrics"]["weight/good"], record["metrics"]["weight/bad"]) == first == (0.6, 0.4)
    assert record["metrics"]["held_out/RR@10"] == 1.0
    assert "good 1.0000, bad 0.0000" in record["notes"]["weights"]
    assert "on 30 held-out training queries" in record["notes"]["weights"]
    assert all(ranking.ids[0] == f"p{20 + int(ranking.query_id[6:]) % 20}" for ranking in read_trec_run(context.paths.run("fusion", "test")))


def test_who_asks_later_gets_the_weights_that_were_chosen(context):
    system = context.experiment.system
    with pytest.raises(UserError, match="not chosen yet; run simlm fuse --model fusion first"):
        weights_of(context.paths, "fusion", system("fusion"))
    fuse(context, "fusion")
    fuse(context, "better", ["train"])
    assert weights_of(context.paths, "fusion", system("fusion")) == [0.6, 0.4]
    assert weights_of(context.paths, "better", system("better")) == [0.0, 1.0]
    given = system("fusion").model_copy(update={"weights": [1.0, 2.0]})
    assert weights_of(context.paths, "fusion", given) == [1.0, 2.0]
    assert weights_of(context.paths, "fusion", given.model_copy(update={"weights": None})) is None


def test_the_better_alone_can_be_mined(context):
    fuse(context, "better", ["train"])
    record = json.loads(context.paths.record("fuse.better.train").read_text())
    assert record["metrics"]["weight/good"] == 1.0
    chosen, good = (list(read_train_run(context.paths.train_run(name))) for name in ("better", "good"))
    assert [run.passages.tolist() for run in chosen] == [run.passages.tolist() for run in good]
    with pytest.raises(UserError, match="--splits takes `train` alone"):
        fuse(context, "better", ["test"])


def test_only_queries_that_no_training_has_seen_decide(context):
    store = CorpusStore(context.paths.corpus)
    unseen = unseen_queries(context, ["good", "bad"], store, 1000)
    assert len(unseen) == 30  # a tenth, the same for all models with one seed
    assert unseen == unseen_queries(context, ["good"], store, 1000)
    assert unseen_queries(context, ["bm25"], store, 50) == sorted(sorted(store.queries("train"), key=query_key)[:50])
    values = context.experiment.model_dump()
    values["models"]["bad"]["seed"] = 1
    other = Context(validate(values), context.paths)
    assert set(unseen_queries(other, ["good", "bad"], store, 1000)) < set(unseen)
    assert len(unseen_queries(other, ["good", "bad"], store, 1000)) < FEWEST
    fuse(other, "fusion")
    record = json.loads(context.paths.record("fuse.fusion").read_text())
    assert record["metrics"]["weight/good"] == 0.5
    assert "give the models one seed" in record["notes"]["cautions"][0]


def test_the_jobs_that_it_brings(context):
    experiment, paths = context.experiment, context.paths
    assert set(searched_for_training(experiment)) == {"bm25", "better", "good", "bad"}
    assert needed_models(experiment)[-1] == "last"
    assert trainings_behind(experiment, ["last"]) == ["last", "bad", "good"]
    labels = [job.label for job in jobs(experiment)]
    order = ["search_index.good", "fuse.better.train", "mine_negatives.better", "fuse.fusion"]
    assert [label for label in labels if label in order] == order
    job = Job("fuse", "better", "train")
    assert outputs_of(experiment, paths, job) == [paths.train_run("better")]
    assert set(inputs_of(experiment, paths, job).values()) >= {paths.train_run("good"), paths.train_run("bad"), paths.negatives("bm25")}
    assert set(inputs_of(experiment, paths, Job("fuse", "fusion")).values()) >= {paths.train_run("good"), paths.run("good", "test")}


def test_what_cannot_be_mined_is_refused(context):
    values = copy.deepcopy(context.experiment.model_dump())
    values["models"]["reranker"] = {"kind": "given_crossencoder", "init": "owner/reranker", "rerank": "good"}
    values["models"]["fusion"]["of"] = ["good", "reranker"]
    with pytest.raises(UserError, match="'reranker' reads runs of a system that does not search the training queries"):
        validate(values)
    values["models"]["fusion"]["weights"] = [1, 2]
    experiment = validate(values)
    assert not minable(experiment, "fusion")
    values["models"]["last"]["negatives"] = "fusion"
    with pytest.raises(UserError, match=r"models.last.negatives: 'fusion' reads runs"):
        validate(values)
    values["models"]["last"]["negatives"], values["models"]["fusion"]["of"] = "fusion", ["good", "last"]
    with pytest.raises(UserError, match="waits for itself"):
        validate(values)
    values["models"]["fusion"]["weights"] = [1.0]
    with pytest.raises(UserError, match="give one number for each of the 2 systems"):
        validate(values)
