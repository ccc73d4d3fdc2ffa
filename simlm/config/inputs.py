"""Which files a job reads and writes: the inputs and outputs of its rule, and the inputs whose digests its record states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from simlm.config.code import code_of
from simlm.config.experiment import Experiment
from simlm.config.graph import folders_of, scored_by, trainings_behind
from simlm.config.jobs import Job, is_reproduction, jobs, runs_made, shards_of, teachers_of
from simlm.config.kinds.base import System
from simlm.config.kinds.bm25 import LEXICAL
from simlm.config.local_files import corpus_files, model_files
from simlm.config.remote import is_hub_id
from simlm.config.stages import settings_of
from simlm.hub import What, cached
from simlm.paths import Paths

Inputs = dict[str, Path]
"""Name → file; manifests stand for folders."""

Hub = Callable[[str, What], Path | None]
"""Where a model or tokenizer of Hugging Face lies: :func:`simlm.hub.fetch` or :func:`simlm.hub.cached`."""


@dataclass(frozen=True)
class Planned:
    """A job as the present configuration and code would run it."""

    job: Job
    settings: dict[str, Any]
    code: str
    inputs: dict[str, Path]


def planned(experiment: Experiment, paths: Paths, shards: int | None = None) -> list[Planned]:
    """All jobs that leave a record before the report, with what their records must state."""
    return [plan_of(experiment, paths, job, shards) for job in jobs(experiment, shards)]


def plan_of(
    experiment: Experiment, paths: Paths, job: Job, shards: int | None = None, code: bool = True, hub: Hub | None = None, inputs: Inputs | None = None
) -> Planned:
    """A job with what its record must state.

    Parameters
    ----------
    code
        Without it that is left empty.
    shards
        See :func:`inputs_of`.
    hub
        Where models of Hugging Face lie; by default what its cache has.
    inputs
        Name → file, where a job by hand reads others than its rule, or not all of them.
    """
    reads = inputs_of(experiment, paths, job, shards, hub or cached) if inputs is None else inputs
    return Planned(job, settings_of(experiment, *job), code_of(experiment, job.stage, job.name) if code else "", dict(reads))


def inputs_of(experiment: Experiment, paths: Paths, job: Job, shards: int | None = None, hub: Hub | None = None) -> Inputs:
    """Name → file for everything that a job reads; manifests stand for folders.

    Parameters
    ----------
    shards
        Takes the place of the experiment's ``encoding.shards``.
    hub
        Files of Hugging Face's cache are among them as well, as records state them. A rule cannot ask for them: they are not there yet when
        the first jobs are planned.
    """
    reads = FILES[job.stage].reads
    return reads(_Asked(experiment, paths, job.name, job.part, shards, hub)) if reads else {}


def outputs_of(experiment: Experiment, paths: Paths, job: Job, called: str | None = None) -> list[Path]:
    """Files that a job leaves beside its record; manifests stand for folders.

    ``called`` takes the place of the system's name in them, such as ``{model}``.
    """
    return FILES[job.stage].writes(_Asked(experiment, paths, job.name, job.part), called or job.name or LEXICAL)


@dataclass(frozen=True)
class _Asked:
    """A job whose files are asked for, and what the files of several stages have in common."""

    experiment: Experiment
    paths: Paths
    name: str | None
    part: str | None = None
    shards: int | None = None
    hub: Hub | None = None

    @property
    def corpus(self) -> Inputs:
        return {"corpus": self.paths.corpus / "manifest.json"}

    @property
    def splits(self) -> list[str]:
        return list(self.experiment.evaluate.splits)

    @property
    def judged(self) -> list[tuple[str, str]]:
        """Every evaluated (system, split)."""
        return [(system, split) for system in self.experiment.evaluate.systems for split in self.splits]

    def model(self, field: str = "model", name: str | None = None) -> Inputs:
        """The manifest of a model of the graph (by default the job's own) or the files in its place, or the files of one outside."""
        name = name or str(self.name)
        if name in self.experiment.systems and (files := self.experiment.system(name).reads_files()):
            return {f"{field}/{what}": file for what, file in files.items()}
        return {field: self.paths.model(name) / "simlm.json"} if name in self.experiment.systems else self.outside(field, name)

    def outside(self, field: str, name: str | None, what: What = "model") -> Inputs:
        """All files that may be read of a model or tokenizer in a local folder or in Hugging Face's cache."""
        folder = (self.hub(name, what) if self.hub else None) if is_hub_id(name or "") else Path(name or "\0").expanduser()
        return {f"{field}/{file.relative_to(folder)}": file for file in model_files(folder, what)} if name and folder else {}

    def hints(self, name: str) -> Inputs:
        """The lexical index, if the system ``name`` reads it."""
        reads = name in self.experiment.systems and self.experiment.system(name).reads_lexical_index()
        return {"bm25": self.paths.bm25 / "manifest.json"} if reads else {}

    def per_query(self) -> Inputs:
        return {f"{system}/{split}": self.paths.per_query(system, split) for system, split in self.judged}

    def records(self) -> Inputs:
        return {f"record {job.label}": self.paths.record(job.label) for job in jobs(self.experiment, self.shards)}


def _read_corpus(ask: _Asked) -> Path:
    """Folder of the store that is read from the source: the corpus, or what it is made of where queries are made."""
    return ask.paths.prepared if ask.experiment.corpus.made_queries else ask.paths.corpus


def _read_by_making(ask: _Asked) -> Inputs:
    made = ask.experiment.corpus.made_queries
    generator = ask.outside("generator", made.generator.init) if made and made.generator else {}
    return {"corpus": _read_corpus(ask) / "manifest.json", **generator}


def _read_by_training(ask: _Asked) -> Inputs:
    """The corpus, and what the model's kind starts from; of a teacher a training reads the scores, not the weights."""
    name, paths = str(ask.name), ask.paths
    model, found = ask.experiment.models[name], ask.corpus
    if model.pretrained:
        found["tokenizer"] = paths.tokenizer / "manifest.json"
    teachers = teachers_of(model)
    starts = {"init": model.initial(), **model.reads_models()}
    for field, other in starts.items():
        if other and field not in teachers:
            found |= ask.model(field, other)
    found |= {field: paths.negatives(source) for field, source in model.mined_from().items()}
    if teachers:
        found["teacher_scores"] = paths.teacher_scores(name)
    return found | ask.hints(name)


def _read_by_teacher(ask: _Asked) -> Inputs:
    student, found = ask.experiment.models[str(ask.name)], ask.corpus
    for field, teacher in teachers_of(student).items():
        found |= {**ask.model(field, teacher), **ask.hints(teacher)}
    return found | {field: ask.paths.negatives(source) for field, source in student.mined_from().items()}


def _read_by_mining(ask: _Asked) -> Inputs:
    source = str(ask.name)
    scores = scored_by(ask.experiment, source)
    judged = {"scores": ask.paths.train_run(scores)} if scores != source else {}
    return {**ask.corpus, "run": ask.paths.train_run(source), **judged}


def _read_by_index(ask: _Asked) -> Inputs:
    shards = shards_of(ask.experiment, str(ask.name), ask.shards)
    return {**ask.corpus, **ask.model(), **{f"shard {shard}": ask.paths.embeddings(ask.name) / f"{shard}.json" for shard in shards}}


def _read_by_rerank(ask: _Asked) -> Inputs:
    """The runs of other systems, and the model that sorts them, if it is one."""
    system = ask.experiment.system(str(ask.name))
    runs = {f"{other}/{split}": ask.paths.run(other, split) for other in system.reads_runs().values() for split in ask.splits}
    if system.runs_by != "rerank":
        return {**ask.corpus, **runs}
    sorter = system.sorter(str(ask.name))
    return {**ask.corpus, **ask.model(name=sorter), **ask.hints(sorter), **runs}


def _read_by_fusion(ask: _Asked) -> Inputs:
    """The runs that are fused: of the judged splits or, to be mined, of the training queries; these and the lists of the trainings also to choose weights."""
    experiment, paths, system = ask.experiment, ask.paths, ask.experiment.system(str(ask.name))
    if ask.part is None and not system.learns:
        return _read_by_rerank(ask)
    found = ask.corpus if ask.part else _read_by_rerank(ask)
    found |= {f"{other}/train (mined)": paths.train_run(other) for other in system.reads_runs().values()}
    return found | (trained_lists(experiment, paths, system) if system.learns else {})


def trained_lists(experiment: Experiment, paths: Paths, system: System) -> Inputs:
    """Negatives of all trainings behind the systems that a fusion reads: they tell which training queries were seen."""
    sources = {source for name in trainings_behind(experiment, system.reads_runs().values()) for source in experiment.models[name].mined_from().values()}
    return {f"negatives of {source}": paths.negatives(source) for source in sorted(sources)}


def _fused(ask: _Asked, system: str) -> list[Path]:
    return [ask.paths.train_run(system)] if ask.part else _sorted_runs(ask, system)


def _read_by_report(ask: _Asked) -> Inputs:
    paths = ask.paths
    return {
        "config": paths.config,
        "metrics": paths.metrics_table,
        "comparisons": paths.comparisons,
        **({"variants": paths.variants, "variant tests": paths.variant_tests} if ask.experiment.variants else {}),
        **ask.per_query(),
        **({"reproduction": paths.reproduction} if is_reproduction(ask.experiment) else {}),
        **ask.records(),
        **{f"benchmark {job.label}": paths.benchmark(job.label) for job in jobs(ask.experiment, ask.shards)},
    }


def _searched(ask: _Asked, system: str) -> list[Path]:
    return [ask.paths.train_run(system) if mined else ask.paths.run(system, split) for split, mined in runs_made(ask.experiment, ask.part)]


def _models(ask: _Asked, system: str) -> list[Path]:
    """A model may have parts, each with a folder of its own."""
    name = str(ask.name)
    return [ask.paths.model(system + folder.removeprefix(name)) / "simlm.json" for folder in folders_of(ask.experiment, name)]


def _compared(ask: _Asked, _: str) -> list[Path]:
    paths = ask.paths
    return [paths.metrics_table, paths.comparisons, *([paths.variants, paths.variant_tests] if ask.experiment.variants else [])]


def _sorted_runs(ask: _Asked, system: str) -> list[Path]:
    return [ask.paths.run(system, split) for split in ask.splits]


class _Files(NamedTuple):
    """What a stage reads and writes; ``writes`` is told the name that stands in the files."""

    reads: Callable[[_Asked], Inputs] | None
    writes: Callable[[_Asked, str], list[Path]]


FILES: dict[str, _Files] = {
    "download": _Files(None, lambda ask, _: [ask.paths.inputs]),
    "prepare_corpus": _Files(lambda ask: {str(file): file for file in corpus_files(ask.experiment)}, lambda ask, _: [_read_corpus(ask) / "manifest.json"]),
    "make_queries": _Files(_read_by_making, lambda ask, _: [*ask.corpus.values()] if ask.experiment.corpus.made_queries else []),
    "train_tokenizer": _Files(
        lambda ask: {**ask.corpus, **ask.outside("init", ask.experiment.tokenizer.init, "tokenizer")}, lambda ask, _: [ask.paths.tokenizer / "manifest.json"]
    ),
    "index_bm25": _Files(lambda ask: ask.corpus, lambda ask, _: [ask.paths.bm25 / "manifest.json"]),
    "search_bm25": _Files(lambda ask: {**ask.corpus, "index": ask.paths.bm25 / "manifest.json"}, _searched),
    "mine_negatives": _Files(_read_by_mining, lambda ask, system: [ask.paths.negatives(system)]),
    "train": _Files(_read_by_training, _models),
    "import_model": _Files(lambda ask: ask.outside("init", ask.experiment.models[str(ask.name)].initial()), _models),
    "score_teacher": _Files(_read_by_teacher, lambda ask, system: [ask.paths.teacher_scores(system)]),
    "encode": _Files(lambda ask: {**ask.corpus, **ask.model()}, lambda ask, system: [ask.paths.embeddings(system) / f"{ask.part}.json"]),
    "build_index": _Files(_read_by_index, lambda ask, system: [ask.paths.index(system) / "manifest.json"]),
    "search_index": _Files(lambda ask: {**ask.corpus, **ask.model(), "index": ask.paths.index(ask.name) / "manifest.json"}, _searched),
    "rerank": _Files(_read_by_rerank, _sorted_runs),
    "fuse": _Files(_read_by_fusion, _fused),
    "evaluate": _Files(
        lambda ask: {**ask.corpus, **{f"{system}/{split}": ask.paths.run(system, split) for system, split in ask.judged}},
        lambda ask, _: [file(system, split) for file in (ask.paths.metrics, ask.paths.per_query) for system, split in ask.judged],
    ),
    "compare_systems": _Files(_Asked.per_query, _compared),
    "judge_reproduction": _Files(lambda ask: {**ask.corpus, "metrics": ask.paths.metrics_table}, lambda ask, _: [ask.paths.reproduction]),
    "report": _Files(_read_by_report, lambda ask, _: [ask.paths.report, ask.paths.pairs]),
    "track": _Files(
        lambda ask: {
            "config": ask.paths.config,
            "report": ask.paths.report,
            "pairs": ask.paths.pairs,
            "record report": ask.paths.record("report"),
            **ask.records(),
        },
        lambda ask, _: [ask.paths.mirror],
    ),
    "enforce_gate": _Files(
        lambda ask: {"reproduction": ask.paths.reproduction, "report": ask.paths.report, "mirror": ask.paths.mirror}, lambda ask, _: [ask.paths.gate]
    ),
}
"""What each stage reads and writes, in the order of the chain."""
