"""What each stage depends on: its own settings and nothing else. The workflow turns a change of these into reruns."""

from __future__ import annotations

import json
from typing import Any

from simlm.config.experiment import Experiment
from simlm.config.graph import compared_pairs, trainings_behind
from simlm.config.jobs import runs_made, teacher_scores_all, teachers_of
from simlm.config.published import published_file
from simlm.config.remote import remote_inputs
from simlm.files import sha256_file

SCHEDULE = ("epochs", "steps", "batch_size", "hard_negatives", "rotation", "holdout", "negatives", "further_negatives")
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


def settings_of(experiment: Experiment, stage: str, name: str | None = None, part: str | None = None) -> dict[str, Any]:
    """Settings that change the result of a stage: what Snakemake reruns on is what the record states.

    Parameters
    ----------
    stage, name, part
        See :class:`~simlm.config.jobs.Job`.
    """
    if stage in ("search_bm25", "search_index"):
        return {**_SETTINGS[stage](experiment, name), "runs": _runs(experiment, part)}
    if stage == "fuse" and part:
        return {**_SETTINGS[stage](experiment, name), "depth": experiment.negatives.depth}
    return _SETTINGS[stage](experiment, name)


def _runs(experiment: Experiment, part: str | None) -> dict[str, int]:
    """The runs of a search, ``train (mined)`` or ``dev``, and how deep they are."""
    depths = {True: experiment.negatives.depth, False: experiment.evaluate.depth}
    return {f"{split} (mined)" if mined else split: depths[mined] for split, mined in runs_made(experiment, part)}


def _arithmetic(experiment: Experiment) -> dict[str, Any]:
    """How models are computed; packing is named where it is asked for."""
    return {"precision": experiment.precision, **({"packing": True} if experiment.packing else {})}


def _train(experiment: Experiment, name: str) -> dict[str, Any]:
    model = experiment.models[name]
    block = model.model_dump(mode="json", exclude=set(model.not_trained))
    return {**block, "seed": model_seed(experiment, name), **_arithmetic(experiment)}


def _import_model(experiment: Experiment, name: str) -> dict[str, Any]:
    model = experiment.models[name]
    return model.model_dump(mode="json", exclude=set(model.not_trained))


def _score_teacher(experiment: Experiment, name: str) -> dict[str, Any]:
    student = experiment.models[name]
    teachers = {**teachers_of(student), **({"weights": student.teacher_weights} if getattr(student, "teacher_weights", None) else {})}
    if teacher_scores_all(experiment, name):
        return {**student.mined_from(), **teachers, **_arithmetic(experiment)}
    visits = {key: getattr(student, key) for key in SCHEDULE if hasattr(student, key)}
    return {**visits, **teachers, "seed": model_seed(experiment, name), **_arithmetic(experiment)}


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
    return {**experiment.encoding_of(name).model_dump(mode="json", include={"batch_size", "dtype"}), **_arithmetic(experiment)}


def _make_queries(experiment: Experiment, _: str | None) -> dict[str, Any]:
    made, lexical = experiment.corpus.made_queries, experiment.bm25
    if made is None:
        return {}
    generating = {"seed": experiment.seed, "precision": experiment.precision} if made.generator else {}
    block = made.model_dump(mode="json", exclude={"generator": {"threads", "gpus"}} if made.generator else {"generator"})
    return {**block, **generating, "analyzer": lexical.analyzers[0], **lexical.model_dump(mode="json", include={"k1", "b", "titles"})}


def _train_tokenizer(experiment: Experiment, _: str | None) -> dict[str, Any]:
    block = experiment.tokenizer
    # A published tokenizer is taken as it is: what says how to train one is not read.
    return block.model_dump(mode="json", include={"init"} if block.init else None)


def _build_index(experiment: Experiment, name: str) -> dict[str, Any]:
    index = experiment.index_of(name)
    if experiment.system(name).ragged:
        built = index.residual and index.residual.model_dump(mode="json", exclude=index.residual.searching)
        return {"residual": built, "seed": experiment.seed} if built else {"residual": None}
    if index.factory == "Flat":  # learns nothing, so draws nothing to learn from
        return {"factory": index.factory}
    return {"factory": index.factory, "train_vectors": index.train_vectors, "seed": experiment.seed}


def _search_index(experiment: Experiment, name: str) -> dict[str, Any]:
    index = experiment.index_of(name)
    if experiment.system(name).ragged:
        searched = index.residual and index.residual.model_dump(mode="json", include=index.residual.searching)
        return {"residual": searched, **_arithmetic(experiment)}
    return {**index.model_dump(mode="json", include={"nprobe", "ef_search"}), **_arithmetic(experiment)}


def _rerank(experiment: Experiment, name: str) -> dict[str, Any]:
    model = experiment.system(name)
    return {
        **model.model_dump(mode="json", include={"scored_by", "rerank", "rerank_depth"}),
        "depth": experiment.evaluate.depth,
        **_arithmetic(experiment),
    }


def _fuse(experiment: Experiment, name: str) -> dict[str, Any]:
    evaluate, block = experiment.evaluate, experiment.models[name]
    settings = {**block.model_dump(mode="json", exclude={"weights"} if getattr(block, "weights", None) is None else set()), "depth": evaluate.depth}
    if not block.learns:
        return settings
    judged = evaluate.splits[evaluate.main_split].model_dump(mode="json")
    seen = {model: [model_seed(experiment, model), getattr(experiment.models[model], "holdout", 0)] for model in trainings_behind(experiment, block.of)}
    return {**settings, "metric": evaluate.main_metric, "judged": judged, "seen by": seen}


def _compare(experiment: Experiment, _: str | None) -> dict[str, Any]:
    variants = {"variants": experiment.variants} if experiment.variants else {}
    return {**experiment.evaluate.model_dump(mode="json", exclude={"depth"}), "seed": experiment.seed, "pairs": compared_pairs(experiment), **variants}


def _judge(experiment: Experiment, _: str | None) -> dict[str, Any]:
    block = experiment.evaluate.model_dump(mode="json", include={"systems", "splits", "metrics"})
    return {"evaluate": block, "published": sha256_file(published_file(experiment))}


_SETTINGS: dict[str, Any] = {
    "download": lambda e, _: remote_inputs(e),
    "prepare_corpus": lambda e, _: e.corpus.model_dump(mode="json", exclude={"made_queries"}),
    "make_queries": _make_queries,
    "train_tokenizer": _train_tokenizer,
    "index_bm25": _index_bm25,
    "search_bm25": lambda e, _: {},
    "mine_negatives": lambda e, _: {**e.negatives.model_dump(mode="json"), "seed": e.seed},
    "train": _train,
    "import_model": _import_model,
    "encode": _encode,
    "build_index": _build_index,
    "search_index": _search_index,
    "score_teacher": _score_teacher,
    "rerank": _rerank,
    "fuse": _fuse,
    "evaluate": lambda e, _: e.evaluate.model_dump(mode="json", include={"systems", "splits", "metrics"}),
    "compare_systems": _compare,
    "judge_reproduction": _judge,
    "report": lambda e, _: {},
    "track": lambda e, _: e.tracking.model_dump(mode="json"),
    "enforce_gate": lambda e, _: {},
}
