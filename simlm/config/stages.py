"""What each stage depends on: its own settings and nothing else. The workflow turns a change of these into reruns."""

from __future__ import annotations

import json
from typing import Any

from simlm.config.experiment import Experiment
from simlm.config.graph import LEXICAL, compared_pairs, mined_systems, systems_with_runs
from simlm.config.kinds import ModelBlock
from simlm.config.remote import remote_inputs

SCHEDULE = ("epochs", "steps", "batch_size", "hard_negatives", "rotation", "holdout", "negatives")
"""Settings of a student that decide which passages its training visits, and so which ones the teacher scores."""


def canonical(settings: dict[str, Any]) -> str:
    """JSON that is the same for equal settings.

    >>> canonical({"b": 1, "a": [2]})
    '{"a":[2],"b":1}'
    """
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


def model_seed(experiment: Experiment, name: str) -> int:
    """Seed of a trained model: its own, or the experiment's."""
    own = getattr(experiment.models[name], "seed", None)
    return experiment.seed if own is None else own


def teacher_of(model: ModelBlock) -> str | None:
    """The model whose scores are distilled into this one."""
    return model.reads_models().get("teacher")


def systems_mined(experiment: Experiment) -> list[str]:
    """Systems that search the training queries: sources of negatives of any model of the graph."""
    return mined_systems(experiment, experiment.models)


def bm25_splits(experiment: Experiment) -> list[str]:
    """Splits that BM25 searches: ``train`` when it is mined, the judged ones when its runs are read."""
    judged = list(experiment.evaluate.splits) if LEXICAL in systems_with_runs(experiment) else []
    return [*(["train"] if LEXICAL in systems_mined(experiment) else []), *(split for split in judged if split != "train")]


def settings_of(experiment: Experiment, stage: str, name: str | None = None) -> dict[str, Any]:
    """Settings that change the result of a stage.

    Parameters
    ----------
    stage
        Name of the stage as in its record, without the instance, such as ``train``.
    name
        Model or system of the instance, such as ``distilled``.
    """
    return _SETTINGS[stage](experiment, name)


def _train(experiment: Experiment, name: str) -> dict[str, Any]:
    model = experiment.models[name]
    block = model.model_dump(mode="json", exclude=set(model.not_trained))
    return {**block, "seed": model_seed(experiment, name), "precision": experiment.precision}


def _import_model(experiment: Experiment, name: str) -> dict[str, Any]:
    model = experiment.models[name]
    return model.model_dump(mode="json", exclude=set(model.not_trained))


def _score_teacher(experiment: Experiment, name: str) -> dict[str, Any]:
    student = experiment.models[name]
    visits = {key: getattr(student, key) for key in SCHEDULE if hasattr(student, key)}
    return {**visits, "teacher": teacher_of(student), "seed": model_seed(experiment, name), "precision": experiment.precision}


def _index_bm25(experiment: Experiment, _: str | None) -> dict[str, Any]:
    block = experiment.bm25.model_dump(mode="json")
    if len(experiment.bm25.analyzers) == 1:
        del block["select_on"]
    else:
        block["metric"] = experiment.evaluate.main_metric
        judged = experiment.evaluate.splits.get(experiment.bm25.select_on)
        block["judged"] = judged.model_dump(mode="json") if judged else None
    return block


def _encode(experiment: Experiment, name: str) -> dict[str, Any]:
    return {**experiment.encoding_of(name).model_dump(mode="json", include={"batch_size", "dtype"}), "precision": experiment.precision}


def _train_tokenizer(experiment: Experiment, _: str | None) -> dict[str, Any]:
    block = experiment.tokenizer
    # A published tokenizer is taken as it is: what says how to train one is not read.
    return block.model_dump(mode="json", include={"init"} if block.init else None)


def _build_index(experiment: Experiment, name: str) -> dict[str, Any]:
    index = experiment.index_of(name)
    if index.factory == "Flat":  # learns nothing, so draws nothing to learn from
        return {"factory": index.factory}
    return {"factory": index.factory, "train_vectors": index.train_vectors, "seed": experiment.seed}


def _depths(experiment: Experiment, system: str) -> dict[str, int]:
    """How deep a system's runs are: of the training queries, if it is mined, and of the judged splits, if it is judged."""
    depths = {"mined": experiment.negatives.depth} if system in systems_mined(experiment) else {}
    return depths | ({"judged": experiment.evaluate.depth} if system in systems_with_runs(experiment) else {})


def _search_index(experiment: Experiment, name: str) -> dict[str, Any]:
    index = experiment.index_of(name).model_dump(mode="json", include={"nprobe", "ef_search"})
    return {**index, **_depths(experiment, name), "precision": experiment.precision}


def _rerank(experiment: Experiment, name: str) -> dict[str, Any]:
    model = experiment.models[name]
    return {**model.model_dump(mode="json", include={"rerank", "rerank_depth"}), "depth": experiment.evaluate.depth, "precision": experiment.precision}


def _compare(experiment: Experiment, _: str | None) -> dict[str, Any]:
    return {**experiment.evaluate.model_dump(mode="json", exclude={"depth"}), "seed": experiment.seed, "pairs": compared_pairs(experiment)}


_SETTINGS: dict[str, Any] = {
    "download_inputs": lambda e, _: remote_inputs(e),
    "prepare_corpus": lambda e, _: e.corpus.model_dump(mode="json"),
    "train_tokenizer": _train_tokenizer,
    "index_bm25": _index_bm25,
    "search_bm25": lambda e, _: _depths(e, LEXICAL),
    "mine_negatives": lambda e, _: {**e.negatives.model_dump(mode="json"), "seed": e.seed},
    "train": _train,
    "import_model": _import_model,
    "encode": _encode,
    "build_index": _build_index,
    "search_index": _search_index,
    "score_teacher": _score_teacher,
    "rerank": _rerank,
    "fuse": lambda e, name: {**e.models[name].model_dump(mode="json"), "depth": e.evaluate.depth},
    "evaluate": lambda e, _: e.evaluate.model_dump(mode="json", include={"systems", "splits", "metrics"}),
    "compare_systems": _compare,
    "judge_reproduction": lambda e, _: {"evaluate": e.evaluate.model_dump(mode="json", include={"systems", "splits", "metrics"})},
    "report": lambda e, _: {},
    "track": lambda e, _: e.tracking.model_dump(mode="json"),
}
