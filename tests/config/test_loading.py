"""Reading, merging, and the questions that the workflow asks the graph."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from simlm.config import load_experiment, merge, validate
from simlm.config.graph import (
    compared_pairs,
    counterparts,
    is_external,
    mined_systems,
    needed_models,
    systems_with_runs,
    training_needs,
    training_order,
)
from simlm.config.jobs import Job, jobs
from simlm.config.picture import mermaid, outline
from simlm.config.stages import settings_of
from simlm.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def default():
    return load_experiment(ROOT / "config" / "config.yaml")


def changed(experiment, **models):
    values = experiment.model_dump(mode="json")
    for name, block in models.items():
        values["models"][name] = {**values["models"].get(name, {}), **block}
    return validate(values)


def test_the_resolved_configuration_is_valid_and_the_same(default):
    assert validate(yaml.safe_load(yaml.safe_dump(default.model_dump(mode="json")))) == default


def test_overlays_merge_mappings_and_replace_the_rest(tmp_path):
    overlay = tmp_path / "o.yaml"
    overlay.write_text("models: {distilled: {learning_rate: 0.5}}\nevaluate: {systems: [bm25]}\n")
    merged = load_experiment(ROOT / "config" / "config.yaml", overlay)
    assert merged.models["distilled"].learning_rate == 0.5
    assert merged.models["distilled"].teacher == "reranker"
    assert merged.evaluate.systems == ["bm25"]
    assert set(merged.evaluate.splits) == {"dev", "test"}


def test_merging_is_snakemakes(tmp_path):
    from snakemake.common.configfile import load_configfile
    from snakemake.utils import update_config

    from simlm.config.load import merge

    first, second = (
        yaml.safe_load((ROOT / "config" / "config.yaml").read_text()),
        {"models": {"new": {"a": [1]}, "base": {"size": {"layers": 9}}}, "seed": None},
    )
    theirs = load_configfile(str(ROOT / "config" / "config.yaml"))
    update_config(theirs, copy.deepcopy(second))
    assert merge(first, second) == theirs


def test_another_source_or_kind_replaces_the_whole_block(tmp_path):
    overlay = tmp_path / "o.yaml"
    overlay.write_text(
        "corpus: {source: beir, path: data, splits: {train: train, dev: dev, test: test}}\nmodels: {fusion: {kind: biencoder, init: simlm, steps: 1}}\n"
    )
    merged = load_experiment(ROOT / "config" / "config.yaml", overlay)
    assert merged.corpus.model_dump(exclude_unset=True) == {"source": "beir", "path": "data", "splits": {"train": "train", "dev": "dev", "test": "test"}}
    assert merged.models["fusion"].model_dump(exclude_unset=True) == {"kind": "biencoder", "init": "simlm", "steps": 1}
    overlay.write_text("corpus: {source: python_docs, packages: [numpy]}\n")
    same = load_experiment(ROOT / "config" / "config.yaml", overlay)
    assert (same.corpus.packages, same.corpus.max_queries) == (["numpy"], {"dev": 500, "test": 2000})


def test_null_takes_a_name_out_that_an_earlier_file_has(tmp_path):
    overlay = tmp_path / "o.yaml"
    overlay.write_text("evaluate: {splits: {dev: null}}\nmodels: {simlm: {probe: null}}\n")
    merged = load_experiment(ROOT / "config" / "config.yaml", overlay)
    assert list(merged.evaluate.splits) == ["test"]
    assert merged.models["simlm"].probe is None
    overlay.write_text("evaluate: {splits: {extra: null}}\n")
    with pytest.raises(UserError, match=r"o.yaml:1: evaluate.splits.extra"):
        load_experiment(ROOT / "config" / "config.yaml", overlay)


def test_order_and_needs(default):
    order = training_order(default)
    for name in order:
        assert all(order.index(need) < order.index(name) for need in training_needs(default, name))
    assert mined_systems(default) == ["bm25", "retriever1", "retriever2"]
    assert set(needed_models(default)) == {name for name, block in default.models.items() if block.trainer}


def test_only_what_is_evaluated_is_needed(default):
    values = default.model_dump(mode="json")
    values["evaluate"]["systems"] = ["bm25", "retriever1"]
    fewer = validate(values)
    assert set(needed_models(fewer)) == {"simlm", "retriever1"}
    assert systems_with_runs(fewer) == ["bm25", "retriever1"]
    assert Job("train", "distilled") not in jobs(fewer)


def test_runs_that_others_read_are_searched(default):
    values = default.model_dump(mode="json")
    values["evaluate"] |= {"systems": ["fusion"], "baseline": "fusion"}
    fused = validate(values)
    assert set(systems_with_runs(fused)) == {"fusion", "distilled", "bm25"}
    assert [job for job in jobs(fused) if job.stage == "search_bm25"] == [Job("search_bm25", None, "train"), Job("search_bm25")]
    values["evaluate"] |= {"systems": ["retriever1"], "baseline": "retriever1"}
    assert [job for job in jobs(validate(values)) if job.stage == "search_bm25"] == [Job("search_bm25", None, "train")]


def test_systems_are_compared_with_what_they_build_on_and_not_with_the_row_above(default):
    pairs = compared_pairs(default)
    dense = ("control", "retriever1", "retriever2", "distilled")
    assert [other for name, other in pairs if name == "reranker"] == ["bm25"]
    assert [other for name, other in pairs if name == "fusion"] == ["bm25", "distilled"]
    assert [next(iter(counterparts(default, name))) for name in dense] == ["bm25", "control", "retriever1", "retriever2"]
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    values = default.model_dump(mode="json")
    # Neither the order of the rows nor a baseline in their midst changes what a system builds on.
    values["evaluate"] |= {"systems": ["fusion", "distilled", "reranker", "retriever2", "bm25"], "baseline": "retriever2"}
    turned = validate(values)
    assert counterparts(turned, "distilled") == ["retriever2"]
    assert counterparts(turned, "fusion") == ["distilled", "bm25"]
    assert counterparts(turned, "reranker") == ["bm25"]
    assert counterparts(turned, "retriever2") == []


def test_external_starts(tmp_path, default):
    assert is_external("google-bert/bert-base-uncased@main")
    assert is_external(str(tmp_path))
    assert not is_external("base")
    external = changed(default, retriever1={"init": "intfloat/simlm-base-msmarco"})
    assert "simlm" not in training_needs(external, "retriever1")


def test_settings_hold_only_what_changes_a_result(default):
    before = {stage: settings_of(default, stage, "distilled") for stage in ("train", "score_teacher", "search_index")}
    after = changed(default, distilled={"learning_rate": 0.1})
    assert settings_of(after, "train", "distilled") != before["train"]
    assert settings_of(after, "score_teacher", "distilled") == before["score_teacher"]
    longer = changed(default, distilled={"epochs": 9})
    assert settings_of(longer, "score_teacher", "distilled") != before["score_teacher"]
    threads = changed(default, distilled={"threads": 3, "gpus": 1, "processes": 2, "log_steps": 7})
    assert settings_of(threads, "train", "distilled") == before["train"]
    deeper = changed(default, reranker={"rerank_depth": 7})
    assert settings_of(deeper, "train", "reranker") == settings_of(default, "train", "reranker")
    assert settings_of(deeper, "rerank", "reranker") != settings_of(default, "rerank", "reranker")


def test_settings_that_nothing_reads_rerun_nothing(default):
    from simlm.tracking.identity import parent_key

    def settings(experiment):
        searched = [job for job in jobs(experiment) if job.stage in ("search_bm25", "search_index")]
        models = {name: settings_of(experiment, "train", name) for name, model in experiment.models.items() if model.made_by == "train"}
        return {**{job.label: settings_of(experiment, *job) for job in searched}, **{f"train.{name}": value for name, value in models.items()}}

    def laid_over(**over):
        return validate(merge(default.model_dump(mode="json"), over))

    before = settings(default)
    unseen = changed(default, simlm={"probe": None})
    assert settings(unseen) == before
    assert parent_key(unseen) == parent_key(default)

    deeper = settings(laid_over(negatives={"depth": 300}))
    mined = {f"search_index.{name}.train" for name in mined_systems(default) if name != "bm25"}
    assert {name for name in before if deeper[name] != before[name]} == {"search_bm25.train", *mined}
    further = settings(laid_over(evaluate={"depth": 300, "splits": {"train": {}}}))
    assert {name for name in before if further[name] != before[name]} == {name for name in before if name.startswith("search") and not name.endswith(".train")}

    for over in ({"index": {"train_vectors": 7}}, {"seed": 7}):
        assert settings_of(laid_over(**over), "build_index", "distilled") == settings_of(default, "build_index", "distilled"), "Flat learns nothing"
    cells = {"index": {"factory": "IVF4,Flat"}}
    learning = settings_of(laid_over(**cells), "build_index", "distilled")
    assert settings_of(laid_over(**merge(cells, {"index": {"train_vectors": 7}})), "build_index", "distilled") != learning

    assert default.tokenizer.init
    assert settings_of(laid_over(tokenizer={"vocabulary": 300}), "train_tokenizer") == settings_of(default, "train_tokenizer")
    own = laid_over(tokenizer={"init": None})
    assert settings_of(validate(merge(own.model_dump(mode="json"), {"tokenizer": {"vocabulary": 300}})), "train_tokenizer") != settings_of(
        own, "train_tokenizer"
    )


def test_smoke_is_the_defaults_graph_with_its_base_trained_in_the_run(default):
    smoke = load_experiment(ROOT / "config" / "smoke.yaml")
    scratch = load_experiment(ROOT / "config" / "config.yaml", ROOT / "config" / "from-scratch.yaml")

    def shape(experiment):
        return {
            name: (block.kind, block.initial(), block.reads_models(), block.reads_negatives(), block.reads_runs()) for name, block in experiment.models.items()
        }

    assert shape(smoke) == shape(scratch)
    assert shape(scratch).keys() - shape(default).keys() == {"base", "generator"}
    given = {"base": "pretrained/pydocs-base", "generator": "pretrained/pydocs-generator"}
    assert default.models["simlm"].init == default.models["control"].init == default.tokenizer.init == given["base"]
    assert default.models["simlm"].generator == given["generator"]
    assert smoke.evaluate.systems == default.evaluate.systems
    assert set(smoke.evaluate.splits) == set(default.evaluate.splits)


def test_pictures(default):
    text = outline(default)
    assert "teacher reranker" in text
    assert "pretrained/pydocs-base" in text
    assert "from scratch" in outline(load_experiment(ROOT / "config" / "smoke.yaml"))
    drawing = mermaid(default)
    assert drawing.startswith("flowchart")
    assert "reranker ==>|teacher| distilled" in drawing


def test_a_graph_without_a_model_is_bm25_alone(default):
    alone = default.model_copy(update={"models": {}, "evaluate": default.evaluate.model_copy(update={"systems": ["bm25"]})})
    assert outline(alone) == "  no model: BM25 alone"
    taught = load_experiment(ROOT / "config" / "examples" / "own-corpus.yaml", ROOT / "config" / "examples" / "teachers.yaml")
    assert "scores.tsv  (its first line was looked at; score_teacher reads them all)" in outline(taught)
    assert mermaid(alone) == "flowchart LR"


def test_check_command(capsys):
    from simlm.cli import main

    assert main(["check", "--config", str(ROOT / "config" / "smoke.yaml")]) == 0
    assert "'smoke' is valid" in capsys.readouterr().out
    assert main(["check", "--experiment", "no-such", "--results", str(ROOT / "tests")]) == 2
    error = capsys.readouterr().err
    assert "no experiment is called 'no-such'" in error
    assert error.count("\n") == 1
