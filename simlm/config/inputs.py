"""Which files a job reads and writes: the inputs and outputs of its rule, and the inputs whose digests its record states."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simlm.config.code import code_of
from simlm.config.experiment import Experiment
from simlm.config.graph import folders_of
from simlm.config.jobs import STAGES, Job, is_reproduction, jobs, names_of, runs_made, searches, shards_of, teacher_of
from simlm.config.kinds.bm25 import LEXICAL
from simlm.config.remote import is_hub_id
from simlm.config.stages import settings_of
from simlm.hub import PICKLED, SAFE, SMALL, data_files
from simlm.paths import Paths


@dataclass(frozen=True)
class Planned:
    """A job as the present configuration and code would run it."""

    job: Job
    settings: dict[str, Any]
    code: str
    inputs: dict[str, Path]


MODULES = ("[0-9]_*/*.json", "[0-9]_*/*.safetensors", "[0-9]_*/*.bin", "[0-9]_*/vocab.txt")
"""Files of sentence-transformers' modules beside the weights of a model."""


def planned(experiment: Experiment, paths: Paths, shards: int | None = None) -> list[Planned]:
    """All jobs that leave a record before the report, with what their records must state."""
    return [plan_of(experiment, paths, job, shards) for job in jobs(experiment, shards)]


def plan_of(experiment: Experiment, paths: Paths, job: Job, shards: int | None = None, code: bool = True) -> Planned:
    """A job with what its record must state; without ``code`` that is left empty."""
    fingerprint = code_of(experiment, job.stage, job.name) if code else ""
    return Planned(job, settings_of(experiment, *job), fingerprint, inputs_of(experiment, paths, job, shards))


def inputs_of(experiment: Experiment, paths: Paths, job: Job, shards: int | None = None) -> dict[str, Path]:
    """Name → file for everything that a job reads; manifests stand for folders.

    ``shards`` takes the place of the experiment's ``encoding.shards``.
    """
    stage, name, _ = job
    corpus = {"corpus": paths.corpus / "manifest.json"}
    splits = list(experiment.evaluate.splits)
    judged = [(system, split) for system in experiment.evaluate.systems for split in splits]
    match stage:
        case "prepare_corpus":
            return {str(file): file for file in corpus_files(experiment)}
        case "train_tokenizer":
            return {**corpus, **_outside("init", experiment.tokenizer.init)}
        case "index_bm25":
            return corpus
        case "search_bm25":
            return {**corpus, "index": paths.bm25 / "manifest.json"}
        case "mine_negatives":
            return {**corpus, "run": paths.train_run(name)}
        case "train":
            return {**corpus, **_read_by_training(experiment, paths, name)}
        case "import_model":
            return _outside("init", experiment.models[name].initial())
        case "score_teacher":
            student = experiment.models[name]
            teacher = str(teacher_of(student))
            return {
                **corpus,
                **_model("teacher", teacher, experiment, paths),
                "negatives": paths.negatives(str(student.reads_negatives())),
                **_hints(experiment, paths, teacher),
            }
        case "encode":
            return {**corpus, **_model("model", name, experiment, paths)}
        case "build_index":
            manifests = {f"shard {shard}": paths.embeddings(name) / f"{shard}.json" for shard in shards_of(experiment, name, shards)}
            return {**corpus, **_model("model", name, experiment, paths), **manifests}
        case "search_index":
            return {**corpus, **_model("model", name, experiment, paths), "index": paths.index(name) / "manifest.json"}
        case "rerank" | "fuse":
            system = experiment.system(name)
            model = _model("model", name, experiment, paths) if system.made_by else {}
            runs = {f"{other}/{split}": paths.run(other, split) for other in system.reads_runs().values() for split in splits}
            return {**corpus, **model, **_hints(experiment, paths, name), **runs}
        case "evaluate":
            return {**corpus, **{f"{system}/{split}": paths.run(system, split) for system, split in judged}}
        case "compare_systems":
            return {f"{system}/{split}": paths.per_query(system, split) for system, split in judged}
        case "judge_reproduction":
            return {**corpus, "metrics": paths.metrics_table}
        case "report":
            return _reported(experiment, paths, shards)
        case "track":
            records = {f"record {each.label}": paths.record(each.label) for each in jobs(experiment, shards)}
            return {"config": paths.config, "report": paths.report, "record report": paths.record("report"), **records}
        case "enforce_gate":
            return {"reproduction": paths.reproduction, "report": paths.report, "mirror": paths.mirror}
    return {}


def outputs_of(experiment: Experiment, paths: Paths, job: Job, called: str | None = None) -> list[Path]:
    """Files that a job leaves beside its record; manifests stand for folders.

    ``called`` takes the place of the system's name in them, such as ``{model}``.
    """
    stage, name, part = job
    called = called or name
    match stage:
        case "download":
            return [paths.inputs]
        case "prepare_corpus":
            return [paths.corpus / "manifest.json"]
        case "train_tokenizer":
            return [paths.tokenizer / "manifest.json"]
        case "index_bm25":
            return [paths.bm25 / "manifest.json"]
        case "search_bm25" | "search_index":
            system = called or LEXICAL
            return [paths.train_run(system) if mined else paths.run(system, split) for split, mined in runs_made(experiment, name or LEXICAL, part)]
        case "mine_negatives":
            return [paths.negatives(called)]
        case "train" | "import_model":
            return [paths.model(called + folder.removeprefix(name)) / "simlm.json" for folder in folders_of(experiment, name)]
        case "score_teacher":
            return [paths.teacher_scores(called)]
        case "encode":
            return [paths.embeddings(called) / f"{part}.json"]
        case "build_index":
            return [paths.index(called) / "manifest.json"]
        case "rerank" | "fuse":
            return [paths.run(called, split) for split in experiment.evaluate.splits]
        case "evaluate":
            both = [(system, split) for system in experiment.evaluate.systems for split in experiment.evaluate.splits]
            return [file(system, split) for file in (paths.metrics, paths.per_query) for system, split in both]
        case "compare_systems":
            return [paths.metrics_table, paths.comparisons]
        case "judge_reproduction":
            return [paths.reproduction]
        case "report":
            return [paths.report]
        case "track":
            return [paths.mirror]
        case "enforce_gate":
            return [paths.gate]
    raise KeyError(stage)


def makers(experiment: Experiment, paths: Paths) -> dict[Path, Job]:
    """File → the job that writes it, for everything that the experiment can be asked for."""
    found: dict[Path, Job] = {}
    for stage in STAGES:
        for name in names_of(experiment, stage) if STAGES[stage] else [None]:
            for part in parts_of(experiment, stage, name):
                job = Job(stage, name, part)
                for file in outputs_of(experiment, paths, job):
                    found.setdefault(file, job)
    return found


def before(experiment: Experiment, paths: Paths, *given: Job) -> list[Job]:
    """The jobs whose results reach the given ones, near or far; those themselves are not among them."""
    made_by, found, waiting = makers(experiment, paths), dict[Job, None](), list(given)
    while waiting:
        for file in inputs_of(experiment, paths, waiting.pop()).values():
            job = made_by.get(file)
            if job and job not in found and job not in given:
                found[job] = None
                waiting.append(job)
    return list(found)


def parts_of(experiment: Experiment, stage: str, name: str | None) -> list[str | None]:
    """Parts in which a stage can be asked for a system; one, None, for the whole."""
    if stage in ("search_bm25", "search_index"):
        return searches(experiment, name or LEXICAL)
    return list(shards_of(experiment, name)) if stage == "encode" and name else [None]


def patterns(experiment: Experiment, paths: Paths, stage: str, wildcard: str = "{model}") -> list[tuple[str | None, list[str | None], list[Path]]]:
    """Rules that a stage needs, as (part, systems, outputs): outputs of a rule have one pattern, but systems may write different ones.

    The outputs hold ``wildcard`` in the place of the system's name.
    """
    groups: dict[tuple[str | None, tuple[Path, ...]], list[str | None]] = {}
    for name in names_of(experiment, stage) if STAGES[stage] else [None]:
        for part in parts_of(experiment, stage, name):
            outputs = tuple(outputs_of(experiment, paths, Job(stage, name, part), called=name and wildcard))
            groups.setdefault((part, outputs), []).append(name)
    return [(part, names, list(outputs)) for (part, outputs), names in groups.items()]


def local_files(name: str | None) -> list[Path]:
    """Configuration, tokenizer and weights of a model or tokenizer outside the graph, if it is a local folder."""
    folder = Path(name or "").expanduser()
    if not name or is_hub_id(name) or not folder.is_dir():
        return []
    safe = any(file for pattern in SAFE for file in folder.glob(pattern))
    return sorted({file for pattern in (*SMALL, *(SAFE if safe else PICKLED), *MODULES) for file in folder.glob(pattern) if file.is_file()})


def corpus_files(experiment: Experiment) -> list[Path]:
    """Files of a local source, so that new data reruns what follows from it; a missing one is the stage's to report."""
    block, found = experiment.corpus, []
    match block.source:
        case "beir":
            folder = Path(block.path).expanduser()
            patterns = ["corpus.jsonl*", "queries.jsonl*", *(f"qrels/{stem}.*" for stem in block.splits.values())]
            found = [file for pattern in patterns for file in folder.glob(pattern)]
        case "hub" if not is_hub_id(block.id):
            folder = Path(block.id).expanduser()
            found = [file for name in (block.passages, block.queries) for pattern in (f"{name}.*", f"{name}/*") for file in folder.glob(pattern)]
            judged = Path(block.qrels).expanduser() if block.qrels else folder
            if judged.is_dir():
                found += (judged / "qrels" if block.qrels is None or (judged / "qrels").is_dir() else judged).glob("*")
        case "ir_datasets" if (titles := block.title_source()) and not is_hub_id(titles):
            found = data_files(Path(titles).expanduser())
    return sorted({file for file in found if file.is_file() and not file.name.startswith(".")})


def _model(field: str, name: str, experiment: Experiment, paths: Paths) -> dict[str, Path]:
    """The manifest of a model of the graph, or the files of one outside."""
    return {field: paths.model(name) / "simlm.json"} if name in experiment.systems else _outside(field, name)


def _outside(field: str, name: str | None) -> dict[str, Path]:
    folder = Path(name or "").expanduser()
    return {f"{field}/{file.relative_to(folder)}": file for file in local_files(name)}


def _hints(experiment: Experiment, paths: Paths, name: str) -> dict[str, Path]:
    reads = name in experiment.systems and experiment.system(name).reads_lexical_index()
    return {"bm25": paths.bm25 / "manifest.json"} if reads else {}


def _read_by_training(experiment: Experiment, paths: Paths, name: str) -> dict[str, Path]:
    """What a training reads beside the corpus; of a teacher it reads the scores, not the weights."""
    model, found = experiment.models[name], {}
    if model.pretrained:
        found["tokenizer"] = paths.tokenizer / "manifest.json"
    starts = {"init": model.initial(), **model.reads_models()}
    for field, other in starts.items():
        if other and field != "teacher":
            found |= _model(field, other, experiment, paths)
    if source := model.reads_negatives():
        found["negatives"] = paths.negatives(source)
    if teacher_of(model):
        found["teacher_scores"] = paths.teacher_scores(name)
    return found | _hints(experiment, paths, name)


def _reported(experiment: Experiment, paths: Paths, shards: int | None) -> dict[str, Path]:
    evaluate, every = experiment.evaluate, jobs(experiment, shards)
    per_query = {f"{system}/{split}": paths.per_query(system, split) for system in evaluate.systems for split in evaluate.splits}
    return {
        "config": paths.config,
        "metrics": paths.metrics_table,
        "comparisons": paths.comparisons,
        **per_query,
        **({"reproduction": paths.reproduction} if is_reproduction(experiment) else {}),
        **{f"record {job.label}": paths.record(job.label) for job in every},
        **{f"benchmark {job.label}": paths.benchmark(job.label) for job in every},
    }
