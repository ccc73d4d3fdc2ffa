# Names that all rules use: the checked experiment, its files, and functions of its graph.

import math
import os
import re
import shutil
import sys
from pathlib import Path

import yaml

from simlm.config import merge, read_values, validate
from simlm.config.load import before_running
from simlm.config.code import STAGES, fingerprint
from simlm.config.graph import (
    LEXICAL,
    encoders,
    initial_model,
    mined_systems,
    needed_models,
    systems_with_runs,
    trainings_waiting,
)
from simlm.config.remote import remote_inputs
from simlm.config.stages import (
    bm25_splits,
    canonical,
    settings_of,
    systems_mined,
    teacher_of,
)
from simlm.errors import UserError
from simlm.config.published import published_file
from simlm.files import sha256_file, sha256_text, write_text
from simlm.hardware import available_cores
from simlm.paths import Paths
from simlm import damage
from simlm.config.jobs import is_reproduction, record_names
from snakemake.exceptions import WorkflowError
from snakemake.settings.types import ExecMode

try:
    # Read anew: Snakemake's merging of several files keeps the keys of a source or kind that a later file replaces.
    files = [Path(file) for file in workflow.configfiles]
    EXPERIMENT = validate(
        merge(read_values(*files), dict(workflow.config_settings.config)), files
    )
    if workflow.exec_mode == ExecMode.DEFAULT:
        # The jobs parse this file too, when files that the experiment has read may be gone.
        for caution in before_running(EXPERIMENT, files):
            print(f"caution: {caution}", file=sys.stderr)
except UserError as error:
    # Not a WorkflowError: Snakemake would put places of this file around the sentence.
    print(
        f"configuration: {error}" if not workflow.configfiles else error,
        file=sys.stderr,
    )
    sys.exit(2)

PATHS = Paths(Path(EXPERIMENT.results) / EXPERIMENT.name)
JUDGED = [split for split in EXPERIMENT.evaluate.splits]


def resolved_configuration() -> str:
    """Path of the whole configuration, named by its content: a job can never read another one than it was planned with."""
    text = yaml.safe_dump(
        EXPERIMENT.model_dump(mode="json"),
        sort_keys=False,
        allow_unicode=True,
        width=120,
    )
    path = PATHS.root / ".config" / f"{sha256_text(text)[:12]}.yaml"
    if not path.exists():
        write_text(path, text)
    return str(path)


CONFIGURATION = resolved_configuration()

# The jobs find the commands beside this Snakemake's Python, and the configuration by its variable. Neither is part of
# a rule, so that another place of the environment or another configuration file reruns nothing by itself.
os.environ.update(
    PATH=os.pathsep.join(
        [str(Path(sys.executable).parent), os.getenv("PATH", os.defpath)]
    ),
    SIMLM_CONFIG=CONFIGURATION,
)


def look_for_damage():
    """Remove the manifests of damaged results, so that their stages run again; nothing while another workflow holds the folder."""
    if not workflow.is_main_process or any(Path(".snakemake/locks").glob("*")):
        return
    unclean = damage.ended_with_machine(PATHS)
    if unclean:
        print(
            "The last workflow ended with its machine: comparing all results with their digests.",
            file=sys.stderr,
        )
    found = damage.find(PATHS, digests=unclean)
    for one in found:
        print(
            f"{one.file} {one.reason}: what made it runs again.",
            file=sys.stderr,
        )
    damage.undo(found)


look_for_damage()


def share(wanted):
    """Threads to ask Snakemake for, so that `--cores 8` on a machine with 2 does not start 8 busy threads.

    More cores than the machine has are virtual: a job that wants all real ones asks for all virtual ones.
    """
    try:
        granted, available = workflow.cores, available_cores()
    except WorkflowError:
        return wanted
    if granted is None or granted <= available:
        return wanted
    return math.ceil(min(wanted, available) * granted / available)


def threads_of(block):
    """Threads of a job: those of its block, and no fewer than it has processes."""
    return max(block.threads, block.processes or 1)


def growing(megabytes):
    """Memory to ask for: a job that a batch system killed for its memory is tried again with more (`retries` of the profile)."""
    return lambda wildcards, attempt: megabytes * attempt


def urgency(wildcards):
    """Priority of a system's jobs: where two could start, the one that more trainings wait for does."""
    return trainings_waiting(EXPERIMENT, wildcards.get("model") or wildcards.system)


# Of the stages before all trainings: short ones, and BM25's search wants several cores at once.
URGENT = 1 + len(EXPERIMENT.models)


def settings(stage):
    """Parameter function: the stage's own settings as canonical JSON."""
    return lambda wildcards: canonical(
        settings_of(EXPERIMENT, stage, wildcards.get("model"))
    )


def code(stage):
    """Fingerprint of the modules behind a stage."""
    return fingerprint(STAGES[stage])


def trainer_code(wildcards):
    """Fingerprint of what trains a model of this kind."""
    return fingerprint(EXPERIMENT.models[wildcards.model].trainer.split(":")[0])


def made_by(stage):
    """Models whose folder is written by a stage: ``train`` or ``import_model``."""
    return [
        name
        for name, block in EXPERIMENT.models.items()
        if block.trainer and block.made_by == stage
    ]


def any_of(names):
    """Regular expression that matches one of the names, or nothing at all."""
    return "|".join(map(re.escape, names)) or "(?!)"


def manifest_of(model):
    return PATHS.model(model) / "simlm.json"


def local_files(name):
    """Files that stand for a start outside the graph, if it is a local folder."""
    folder = Path(name or "").expanduser()
    there = [
        folder / file
        for file in ("simlm.json", "config.json", "model.safetensors", "tokenizer.json")
    ]
    return [file for file in there if name and file.is_file()]


def downloads():
    """What is fetched from elsewhere before the first job, if anything is.

    Ancient: another model in the configuration must not prepare the corpus again. A change of what a stage itself reads
    is among its settings.
    """
    return [ancient(str(PATHS.inputs))] if remote_inputs(EXPERIMENT) else []


def corpus_files(wildcards):
    """Files of a local source, so that new data reruns what follows from it; a missing one is the command's to report."""
    block = EXPERIMENT.corpus
    folder = Path(
        getattr(block, "path", "") or getattr(block, "id", "") or ""
    ).expanduser()
    if str(folder) == "." or not folder.is_dir():
        return []
    return sorted(
        file
        for pattern in ("*.jsonl", "*.jsonl.gz", "qrels/*.tsv", "*.parquet")
        for file in folder.glob(pattern)
    )


def models_read(wildcards):
    """Weights that the training starts from or uses, except a teacher, whose scores are read instead."""
    block = EXPERIMENT.models[wildcards.model]
    others = [
        name for field, name in block.reads_models().items() if field != "teacher"
    ]
    start = initial_model(EXPERIMENT, wildcards.model)
    inside = [name for name in (start, *others) if name in EXPERIMENT.models]
    outside = [
        file
        for name in (block.initial(), *others)
        if name not in EXPERIMENT.models
        for file in local_files(name)
    ]
    return [*map(manifest_of, dict.fromkeys(inside)), *outside]


def negatives_read(wildcards):
    source = EXPERIMENT.models[wildcards.model].reads_negatives()
    return [PATHS.negatives(source)] if source else []


def teacher_scores_read(wildcards):
    return (
        [PATHS.teacher_scores(wildcards.model)]
        if teacher_of(EXPERIMENT.models[wildcards.model])
        else []
    )


def lexical_index(model):
    """The BM25 index, where a model reads hints from it."""
    if model is None or not EXPERIMENT.models[model].reads_lexical_index():
        return []
    return [PATHS.bm25 / "manifest.json"]


def shards_of(name):
    """Parts in which a model embeds the corpus, such as `1-of-2`; `--set-scatter` has its say where they are the experiment's."""
    own = EXPERIMENT.shards_of(name)
    return (
        own
        if len(own) != EXPERIMENT.encoding.shards
        else gather.corpus("{scatteritem}")
    )


def shard_inputs(wildcards):
    folder = PATHS.embeddings(wildcards.model)
    return [folder / f"{shard}.json" for shard in shards_of(wildcards.model)]


def encoding(choose):
    """Resource function: what `choose` takes from the `encoding` of the model of a job."""
    return lambda wildcards: choose(EXPERIMENT.encoding_of(wildcards.model))


def every_record(wildcards):
    """Asked for by name: Snakemake does not miss a record in the middle of the graph if what follows from it is there."""
    return rules.write_report.input.records


def runs_of(names):
    return [PATHS.run(name, split) for name in names for split in JUDGED]


def release_checkpoints():
    """A training keeps its last checkpoint until here: if this process is killed, jobs on a cluster go on and end unseen."""
    for name, block in EXPERIMENT.models.items():
        if block.trainer and manifest_of(name).exists():
            shutil.rmtree(PATHS.training(name), ignore_errors=True)


def print_summary():
    """Where to read the results, once everything is done."""
    if PATHS.report.exists():
        print(
            f"\nReport: {PATHS.report}   Table: {PATHS.metrics_table} (`simlm summary --experiment {EXPERIMENT.name}` prints it)",
            file=sys.stderr,
        )
