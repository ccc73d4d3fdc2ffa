"""Negatives of two systems for one training: each query sees the one and the other list in turn."""

from __future__ import annotations

import numpy as np
import pytest

from simlm.config import validate
from simlm.config.graph import mined_systems, training_needs
from simlm.config.inputs import inputs_of
from simlm.config.jobs import Job
from simlm.corpus.store import CorpusStore, write_corpus
from simlm.errors import UserError
from simlm.paths import Paths
from simlm.runs.negatives import MinedQuery, MiningCounts, write_negatives
from simlm.training.groups import Groups, read_groups
from simlm.training.teacher import visited_passages
from simlm.training.two_lists import TwoLists, in_turn

BM25, MINED = np.arange(30, 36), np.arange(50, 54)


@pytest.fixture
def both(tmp_path) -> tuple[TwoLists, Groups, Groups]:
    """Queries 0 to 11 in both lists, 12 in the first alone, 13 in the second alone."""
    passages = [(f"p{i}", "", f"text {i}") for i in range(60)]
    queries, qrels = [(f"q{i}", f"query {i}") for i in range(14)], [(f"q{i}", f"p{i}", 1) for i in range(14)]
    write_corpus(tmp_path / "corpus", passages, {"train": (queries, qrels)}, {"source": "test"})
    store, found = CorpusStore(tmp_path / "corpus"), []
    for name, listed, negatives in (("bm25", range(13), BM25), ("mined", [*range(12), 13], MINED)):
        write = [MinedQuery(f"q{i}", np.array([i]), negatives) for i in listed]
        write_negatives(tmp_path / f"{name}.parquet", write, {"corpus_sha256": store.sha256}, MiningCounts(queries=len(write)))
        found.append(read_groups(tmp_path / f"{name}.parquet", store, 2, tmp_path))
    return in_turn(*found, tmp_path), *found


def test_each_query_sees_either_list_in_turn_and_walks_through_both(both):
    groups = both[0]
    assert groups.query_ids == [f"q{i}" for i in range(14)]
    begins = []
    for query in range(12):
        seen = [groups.visit(5, epoch, query, 2, "shuffled") for epoch in range(12)]
        assert {int(rows[0]) for rows in seen} == {query}
        lists = ["bm25" if np.isin(rows[1:], BM25).all() else "mined" if np.isin(rows[1:], MINED).all() else "mixed" for rows in seen]
        assert lists in (["bm25", "mined"] * 6, ["mined", "bm25"] * 6)
        begins.append(lists[0])
        # Three visits show all six of BM25's, two all four that were mined.
        first, second = ([rows[1:] for rows, name in zip(seen, lists) if name == wanted] for wanted in ("bm25", "mined"))
        assert sorted(np.concatenate(first[:3]).tolist()) == BM25.tolist()
        assert sorted(np.concatenate(second[:2]).tolist()) == MINED.tolist()
    assert set(begins) == {"bm25", "mined"}


def test_a_query_that_one_list_lacks_has_the_other(both):
    groups = both[0]
    assert all(np.isin(groups.visit(5, epoch, 12, 2, "shuffled")[1:], BM25).all() for epoch in range(4))
    assert all(np.isin(groups.visit(5, epoch, 13, 2, "shuffled")[1:], MINED).all() for epoch in range(4))
    assert groups.about["queries"] == 14
    assert groups.holdout(1, 1).tolist() == sorted(groups.holdout(1, 1).tolist())


def test_a_part_of_both_lists_is_still_seen_in_turn(both):
    groups = both[0]
    kept = groups.where(np.ones(len(groups.positives), bool), groups.negatives % 2 == 0)
    for query in range(14):
        seen = [set(kept.visit(5, epoch, query, 2, "shuffled")[1:].tolist()) for epoch in range(12)]
        bm25, mined = {30, 32, 34}, {50, 52}
        assert set().union(*seen) == (bm25 if query == 12 else mined if query == 13 else bm25 | mined)
        assert all(rows <= bm25 or rows <= mined for rows in seen)
    first_gone = groups.where(np.ones(len(groups.positives), bool), groups.negatives >= 50)
    assert set(np.concatenate([first_gone.visit(5, epoch, 0, 2, "offset")[1:] for epoch in range(4)]).tolist()) == set(MINED.tolist())


def test_a_teacher_scores_what_is_visited(both, tmp_path):
    groups = both[0]
    epochs = np.full(len(groups), 3)
    rows, offsets = visited_passages(groups, epochs, 2, 5, "shuffled", tmp_path)
    for query in range(len(groups)):
        seen = {int(row) for epoch in range(3) for row in groups.visit(5, epoch, query, 2, "shuffled")}
        assert set(rows[offsets[query] : offsets[query + 1]].tolist()) == seen


def values(**second):
    dense = {"kind": "biencoder", "init": "base", "steps": 4, "batch_size": 8, "hard_negatives": 1}
    return {
        "name": "rounds",
        "corpus": {"source": "beir", "path": "data", "splits": {"train": "train", "test": "test"}},
        "models": {
            "base": {"kind": "mlm", "size": {}, "steps": 4, "batch_size": 8},
            "first": {**dense, "negatives": "bm25"},
            "second": {**dense, "negatives": "bm25", "further_negatives": "first", **second},
        },
        "evaluate": {"systems": ["bm25", "second"], "splits": {"test": {}}, "main_split": "test"},
    }


def test_the_graph_mines_both(tmp_path):
    experiment = validate(values())
    assert mined_systems(experiment) == ["bm25", "first"]
    assert training_needs(experiment, "second") == ["base", "first"]
    read = inputs_of(experiment, Paths(tmp_path), Job("train", "second"))
    assert {name: file.name for name, file in read.items() if "negatives" in name} == {"negatives": "bm25.parquet", "further_negatives": "first.parquet"}
    assert experiment.models["second"].about() == "from base, negatives from bm25 and first"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"negatives": None}, "further_negatives come beside 'negatives'"),
        ({"further_negatives": "bm25"}, "further_negatives bm25 are those of 'negatives' already"),
        ({"further_negatives": "base"}, r"models.second.further_negatives: 'base' is of kind mlm"),
    ],
)
def test_mistakes_are_named(change, sentence):
    with pytest.raises(UserError, match=sentence):
        validate(values(**change))


def test_a_second_round_in_cocondensers_way_is_trained_and_resumed(tmp_path, word_tokenizer, monkeypatch):
    """Inner products, temperature 1, `title [SEP] text`, two lists; after an interruption the same weights."""
    import time

    import torch
    from finetuning import make_context
    from safetensors.torch import load_file

    from simlm.errors import OutOfTime
    from simlm.models.manifest import read_manifest
    from simlm.stages.train import train

    way = {"similarity": "dot", "normalize": False, "temperature": 1.0, "title": "separated", "score_terms": "queries"}
    block = {"kind": "biencoder", "steps": 6, "batch_size": 8, "hard_negatives": 3, "learning_rate": 1e-3, "holdout": 4, "threads": 1, "log_steps": 2, **way}
    block |= {"query_length": 16, "passage_length": 24, "negatives": "bm25", "further_negatives": "retriever1"}
    models = {"second": block, "retriever1": {**block, "further_negatives": None}}
    found = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        context = make_context(folder, word_tokenizer, {name: dict(model) for name, model in models.items()})
        if found:
            monkeypatch.setenv("SIMLM_END_TIME", str(time.time() + 5))
            with pytest.raises(OutOfTime):
                train(context, "second")
            monkeypatch.delenv("SIMLM_END_TIME")
        train(context, "second")
        found.append(load_file(context.paths.model("second") / "model.safetensors"))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    manifest = read_manifest(context.paths.model("second"))
    assert {key: manifest[key] for key in ("similarity", "normalised", "title", "pooling")} == {
        "similarity": "dot", "normalised": False, "title": "separated", "pooling": "cls",
    }  # fmt: skip
