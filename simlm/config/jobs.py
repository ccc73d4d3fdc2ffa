"""The jobs of an experiment: which stages run for which systems, in which order, and what tells one from another.

A stage has one name for its function (:mod:`simlm.stages`), command, rule, log, benchmark and record. A job is a stage of
one system, or of a part of one: ``train.distilled``, ``encode.distilled.1-of-2``, ``evaluate``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from simlm.config.experiment import Experiment
from simlm.config.graph import encoders, mined_systems, needed_models, node_of, searched_for_training, systems_with_runs
from simlm.config.kinds.base import System
from simlm.config.kinds.bm25 import LEXICAL
from simlm.config.published import counterparts
from simlm.config.remote import remote_inputs

MINED = "train"
"""Part of a search, or of a fusion, that writes the run from which negatives are mined."""


class Job(NamedTuple):
    """One run of a stage.

    Attributes
    ----------
    stage
        Such as ``encode``.
    name
        The system that it is about, if it is about one.
    part
        The shard (``1-of-2``), or the splits that are searched where they are not the judged ones (``train``, for the run that is mined).

    >>> Job("encode", "distilled", "1-of-2").label, Job("search_bm25", None, "train").label
    ('encode.distilled.1-of-2', 'search_bm25.train')
    """

    stage: str
    name: str | None = None
    part: str | None = None

    @property
    def label(self) -> str:
        """Name of its record, log and benchmark."""
        return ".".join(filter(None, self))

    @property
    def command(self) -> str:
        """How it is run by hand."""
        words = ["simlm", self.stage.replace("_", "-")]
        words += ["--model", self.name] if self.name else []
        if self.part and self.stage == "encode":
            shard, _, shards = self.part.partition("-of-")
            words += ["--shard", shard, "--shards", shards]
        elif self.part:
            words += ["--splits", *self.part.split("+")]
        return " ".join(words)


def teachers_of(system: System) -> dict[str, str]:
    """Field → system whose scores are distilled into this one."""
    return {field: name for field, name in system.reads_models().items() if field.partition("[")[0] == "teacher"}


def teacher_scores_all(experiment: Experiment, student: str) -> bool:
    """Whether a student's teachers score all listed passages, because the scores decide what is visited, or only those that its training visits."""
    model = experiment.models[student]
    drops = getattr(model, "teacher_drop_above", None) is not None
    return model.teacher_scores_all or drops or any(experiment.system(name).teaches for name in teachers_of(model).values())


def _where(fits: Callable[[System], bool]) -> Callable[[Experiment], list[str]]:
    return lambda experiment: [name for name, system in experiment.systems.items() if fits(system)]


def _models_where(fits: Callable[[System], bool]) -> Callable[[Experiment], list[str]]:
    return lambda experiment: [name for name, model in experiment.models.items() if fits(model)]


STAGES: dict[str, Callable[[Experiment], list[str]] | None] = {
    "download": None,
    "prepare_corpus": None,
    "make_queries": None,
    "train_tokenizer": None,
    "index_bm25": None,
    "search_bm25": None,
    "mine_negatives": _where(lambda system: system.mined),
    "score_teacher": _models_where(lambda model: bool(teachers_of(model))),
    "train": _models_where(lambda model: model.made_by == "train"),
    "import_model": _models_where(lambda model: model.made_by == "import_model"),
    "encode": encoders,
    "build_index": encoders,
    "search_index": _where(lambda system: system.runs_by == "search_index"),
    "rerank": _where(lambda system: system.runs_by == "rerank"),
    "fuse": _where(lambda system: system.runs_by == "fuse"),
    "evaluate": None,
    "compare_systems": None,
    "judge_reproduction": None,
    "report": None,
    "track": None,
    "enforce_gate": None,
}
"""Stage → the systems that it can be run for, or None for a stage that is about the experiment as a whole; in the order of the chain."""


def job_of(label: str) -> Job:
    """The job that a record, log or benchmark is called by.

    >>> job_of("search_index.joint.retriever.train")
    Job(stage='search_index', name='joint.retriever', part='train')
    >>> job_of("search_bm25.train")
    Job(stage='search_bm25', name=None, part='train')
    """
    stage, _, rest = label.partition(".")
    if not rest or STAGES.get(stage) is None:
        return Job(stage, None, rest or None)
    name, _, part = rest.rpartition(".")
    return Job(stage, name, part) if name and (part == MINED or "-of-" in part) else Job(stage, rest)


def names_of(experiment: Experiment, stage: str) -> list[str]:
    """Systems that a stage can be run for."""
    fitting = STAGES[stage]
    return fitting(experiment) if fitting else []


def shards_of(experiment: Experiment, name: str, shards: int | None = None) -> list[str]:
    """Parts in which a model embeds the corpus, such as ``1-of-2``; ``shards`` takes the place of the experiment's ``encoding.shards``."""
    own = experiment.encoding_of(name).shards
    count = shards if shards and own == experiment.encoding.shards else own
    return [f"{shard}-of-{count}" for shard in range(1, count + 1)]


def runs_made(experiment: Experiment, part: str | None = None) -> list[tuple[str, bool]]:
    """What a search writes, as (split, whether it is the run that is mined): the judged splits, or those of its part.

    ``train`` is mined to ``negatives.depth``, and where it is also a judged split it has a TREC run too: ``train`` alone means
    the one to mine, among others (joined with ``+``) it is a judged split like them.
    """
    judged = list(experiment.evaluate.splits)
    splits = list(dict.fromkeys(part.split("+"))) if part else judged
    return [(split, part is not None and split == "train" and ("train" not in judged or splits == ["train"])) for split in splits]


def is_reproduction(experiment: Experiment) -> bool:
    """Whether any evaluated system has a published figure to be compared with, be it comparable or not."""
    return bool(counterparts(experiment))


def jobs(experiment: Experiment, shards: int | None = None) -> list[Job]:
    """All jobs with a record that ``all`` runs before the report, in the order of the chain.

    ``shards`` takes the place of the experiment's ``encoding.shards``.
    """
    models, runs, on_train = needed_models(experiment), systems_with_runs(experiment), searched_for_training(experiment)

    def searches(stage: str, name: str) -> list[Job]:
        """Of the training queries, to be mined, and of the judged splits: neither is done again for the other's sake."""
        whole = Job(stage, name if STAGES[stage] else None)
        return [*([whole._replace(part=MINED)] if name in on_train else []), *([whole] if name in runs else [])]

    found = [Job("download")] if remote_inputs(experiment) else []
    found.append(Job("prepare_corpus"))
    if experiment.corpus.made_queries:
        found.append(Job("make_queries"))
    if any(experiment.models[name].made_by == "train" and experiment.models[name].pretrained for name in models):
        found.append(Job("train_tokenizer"))
    searched = LEXICAL in runs or LEXICAL in on_train
    if searched or any(experiment.models[name].reads_lexical_index() for name in models):
        found.append(Job("index_bm25"))
    if searched:
        found += searches("search_bm25", LEXICAL)
    found += [Job(str(experiment.models[name].made_by), name) for name in models]
    for name in names_of(experiment, "search_index"):
        if node_of(name) in models and (name in runs or name in on_train):
            found += [Job("encode", name, part) for part in shards_of(experiment, name, shards)]
            found += [Job("build_index", name), *searches("search_index", name)]
    found += [Job("fuse", name, MINED) for name in reversed(on_train) if experiment.system(name).runs_by == "fuse"]
    found += [Job("mine_negatives", name) for name in mined_systems(experiment)]
    found += [Job("score_teacher", name) for name in models if teachers_of(experiment.models[name])]
    found += [Job(str(stage), name) for name in runs if (stage := experiment.system(name).runs_by) not in ("search_index", "search_bm25")]
    return [*found, Job("evaluate"), Job("compare_systems"), *([Job("judge_reproduction")] if is_reproduction(experiment) else [])]
