"""Names of the records that an experiment leaves, in the order of the chain."""

from __future__ import annotations

from collections.abc import Callable

from simlm.config.experiment import Experiment
from simlm.config.graph import LEXICAL, mined_systems, needed_models, systems_with_runs
from simlm.config.published import counterparts
from simlm.config.remote import remote_inputs
from simlm.config.stages import teacher_of


def is_reproduction(experiment: Experiment) -> bool:
    """Whether any evaluated system has a published figure to be compared with, be it comparable or not."""
    return bool(counterparts(experiment))


def record_names(experiment: Experiment, shards: Callable[[str], list[str]]) -> list[str]:
    """Names of all stage records that ``all`` leaves before the report, in the order of the chain.

    ``shards`` gives the parts in which the workflow embeds the corpus with a model, such as ``1-of-2``.
    """
    models, runs = needed_models(experiment), systems_with_runs(experiment)
    mined = mined_systems(experiment)
    dense = [name for name in models if experiment.models[name].encodes and (name in runs or name in mined)]
    names = [*(["download_inputs"] if remote_inputs(experiment) else []), "prepare_corpus"]
    if not models or any(experiment.models[name].made_by == "train" for name in models):
        names.append("train_tokenizer")
    searched = LEXICAL in runs or LEXICAL in mined
    if searched or any(experiment.models[name].reads_lexical_index() for name in models):
        names.append("index_bm25")
    if searched:
        names.append("search_bm25")
    names += [f"{experiment.models[name].made_by}.{name}" for name in models]
    for name in dense:
        names += [*(f"encode.{name}.{shard}" for shard in shards(name)), f"build_index.{name}", f"search_index.{name}"]
    names += [f"mine_negatives.{source}" for source in mined]
    names += [f"score_teacher.{name}" for name in models if teacher_of(experiment.models[name])]
    names += [f"{'rerank' if experiment.models[name].trainer else 'fuse'}.{name}" for name in runs if name != LEXICAL and not experiment.models[name].encodes]
    return [*names, "evaluate", "compare_systems", *(["judge_reproduction"] if is_reproduction(experiment) else [])]
