# Names that all rules use: the checked experiment, its files, and functions of its graph.

import functools
import math
import os
import re
import shutil
import sys
from pathlib import Path

from simlm.config import merge, read_values, validate
from simlm.config.belonging import misfits
from simlm.config.load import before_running, resolved
from simlm.config.code import code_of
from simlm.config.graph import folders_of, node_of, trainings_waiting
from simlm.config.inputs import inputs_of, outputs_of
from simlm.config.makers import patterns
from simlm.config.jobs import STAGES, Job, jobs, names_of, shards_of
from simlm.config.remote import remote_inputs
from simlm.config.resources import asked
from simlm.config.stages import canonical, settings_of
from simlm.errors import UserError
from simlm.files import sha256_text, write_text
from simlm.hardware import available_cores
from simlm.paths import Paths
from simlm import damage
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


def resolved_configuration() -> str:
    """Path of the whole configuration, named by its content: a job can never read another one than it was planned with."""
    text = resolved(EXPERIMENT)
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
    """Results that are damaged; none while another workflow holds the folder."""
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
    return found


def look_for_others():
    """Files of jobs whose records do not belong to this configuration, its code and its inputs."""
    found = misfits(EXPERIMENT, PATHS, SHARDS)
    if found:
        print(
            "These do not belong to this configuration and are made again where they are needed: "
            + ", ".join(map(str, found)),
            file=sys.stderr,
        )
    files = {str(PATHS.record(each.job.label)) for each in found}
    # Written by hand with other settings; Snakemake only remembers those that it asked for itself.
    other = (
        PATHS.config.exists()
        and PATHS.config.read_bytes() != Path(CONFIGURATION).read_bytes()
    )
    return files | ({str(PATHS.config)} if other else set())


@functools.cache
def unfit():
    """(damaged results, files to be made again), looked for once, when the first rule asks for its inputs.

    Nothing is removed before the first job starts, so that a dry run leaves everything as it is. The jobs read this file too,
    and another workflow may hold the folder: neither looks.
    """
    if workflow.exec_mode != ExecMode.DEFAULT or any(
        Path(".snakemake/locks").glob("*")
    ):
        return [], set()
    found = look_for_damage()
    damaged = {str(file) for one in found for file in (one.file, *one.stands)}
    return found, damaged | look_for_others()


def ask_again(files):
    """Tell Snakemake that those of the files which do not belong here are to be made, whatever it remembers of them.

    `--forcerun` does that, but for whoever calls Snakemake, and it makes the files targets; a parameter that changes makes nothing
    again whose parameters were forgotten with the rest. Should a version of Snakemake lack this set, the plan ends with an error.
    """
    again = unfit()[1].intersection(map(str, files))
    if again:
        workflow._dag.forcefiles.update(again)


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


@functools.cache
def requests():
    """What the plan says of memory and time; nothing is counted before the first rule asks."""
    from simlm.planning.requests import Requests

    return Requests(EXPERIMENT, PATHS)


def threads(stage):
    """Threads of a stage's jobs, as its system's settings ask for them."""
    return lambda wildcards: share(
        asked(EXPERIMENT, Job(stage, wildcards.get("model"))).threads
    )


def needs(stage, part=None):
    """Resources of a stage's jobs. One that a batch system killed for its memory is tried again with more (`retries` of the profile)."""

    def of(wildcards):
        return Job(stage, wildcards.get("model"), part)

    return {
        "gpu": lambda wildcards: asked(EXPERIMENT, of(wildcards)).gpus,
        "processes": lambda wildcards: asked(EXPERIMENT, of(wildcards)).processes,
        "mem_mb": lambda wildcards, attempt: attempt
        * requests().of(of(wildcards)).memory,
        "runtime": lambda wildcards: requests().of(of(wildcards)).minutes,
    }


WAITING = trainings_waiting(EXPERIMENT)


def urgency(wildcards):
    """Priority of a system's jobs: where two could start, the one that more trainings wait for does."""
    return WAITING.get(node_of(wildcards.model), 0)


# Of the stages before all trainings: short ones, and BM25's search wants several cores at once.
URGENT = 1 + len(EXPERIMENT.models)


# The lines that all rules share. A stage has one name for rule, command, log, benchmark and record; what it reads and
# writes, and what it runs again for, its record states as well: both ask simlm.config.


def job(stage, part=None):
    """The job of a rule, with a wildcard in the place of its system."""
    return Job(stage, "{model}" if STAGES[stage] else None, part)


def log_of(stage, part=None):
    return PATHS.log(job(stage, part).label)


def benchmark_of(stage, part=None):
    return PATHS.benchmark(job(stage, part).label)


def reads(stage, part=None):
    """Input function: the files that the job reads."""

    def files(wildcards):
        shard = (
            f"{wildcards.shard}-of-{wildcards.shards}" if stage == "encode" else None
        )
        own = Job(stage, wildcards.get("model"), part or shard)
        found = list(inputs_of(EXPERIMENT, PATHS, own, SHARDS).values())
        made = outputs_of(EXPERIMENT, PATHS, own)
        ask_again([*found, *made, PATHS.record(own.label)])
        return found

    return files


def writes(stage, part=None, outputs=None):
    """The stage's outputs, and its record."""
    own = outputs or outputs_of(EXPERIMENT, PATHS, job(stage, part))
    return [*own, PATHS.record(job(stage, part).label)]


def reasons(stage, part=None):
    """Parameters: what makes the stage run again beside its inputs, and what its record states."""
    return {
        "settings": lambda wildcards: canonical(
            settings_of(EXPERIMENT, stage, wildcards.get("model"), part)
        ),
        "code": lambda wildcards: code_of(EXPERIMENT, stage, wildcards.get("model")),
    }


def simlm(stage, options="", launched=""):
    """Shell command of a stage; ``launched`` are options of the launcher, for a stage that is given GPUs or processes."""
    words = [
        f"python -m simlm.devices {launched} --" if launched else "simlm",
        stage.replace("_", "-"),
        '--config "$SIMLM_CONFIG"',
        "--model {wildcards.model:q}" if STAGES[stage] else "",
        options,
        "> {log:q} 2>&1",
    ]
    return " ".join(filter(None, words))


GPUS = "--gpus {resources.gpu}"
PROCESSES = "--processes {resources.processes}"
MINUTES = "--minutes {resources.runtime}"


def splits_of(part):
    """Option for a search of other splits than the judged ones. It is a rule's parameter: `shell:` is read when the job starts, with the loop's last part."""
    return f"--splits {part}" if part else ""


def queries_of(part, of=""):
    """What is searched or fused, in a rule's message."""
    return f"{of}the training queries " if part else ""


def rules_of(stage):
    """Name, part, systems and outputs of all rules of a stage; systems whose jobs write other files have another rule."""
    found = patterns(EXPERIMENT, PATHS, stage)
    others = [f"{stage}_{part or number}" for number, (part, *_) in enumerate(found, 1)]
    return [(name, *pattern) for name, pattern in zip([stage, *others[1:]], found)]


def any_of(names):
    """Regular expression that matches one of the names, or nothing at all."""
    return "|".join(map(re.escape, names)) or "(?!)"


def downloads():
    """What is fetched from elsewhere before the first job, if anything is.

    Ancient: another model in the configuration must not prepare the corpus again. A change of what a stage itself reads
    is among its settings.
    """
    return [ancient(str(PATHS.inputs))] if remote_inputs(EXPERIMENT) else []


def every_record(wildcards):
    """Asked for by name: Snakemake does not miss a record in the middle of the graph if what follows from it is there."""
    return [PATHS.record(each.label) for each in jobs(EXPERIMENT, SHARDS)]


def release_checkpoints():
    """A training keeps its last checkpoint until here: if this process is killed, jobs on a cluster go on and end unseen."""
    for name in EXPERIMENT.models:
        folders = [PATHS.model(folder) for folder in folders_of(EXPERIMENT, name)]
        if folders and all((folder / "simlm.json").exists() for folder in folders):
            shutil.rmtree(PATHS.training(name), ignore_errors=True)
