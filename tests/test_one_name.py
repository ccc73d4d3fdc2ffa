"""A stage has one name everywhere, its record states what its rule reruns on, and a model may write several folders."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, Literal

import pytest

from simlm.cli import COMMANDS
from simlm.config import load_experiment
from simlm.config.inputs import inputs_of, outputs_of
from simlm.config.jobs import STAGES, Job, jobs, names_of
from simlm.config.kinds import KINDS, ModelBlock
from simlm.config.makers import makers, parts_of, patterns
from simlm.paths import Paths

ROOT = Path(__file__).resolve().parents[1]
RULES = "".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "workflow").rglob("*")) if file.suffix == ".smk" or file.name == "Snakefile")
PATHS = Paths(Path("results") / "smoke")


@pytest.fixture(scope="module")
def smoke():
    return load_experiment(ROOT / "config" / "smoke.yaml")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_function_rule_and_command(stage):
    function = getattr(import_module(f"simlm.stages.{stage}"), stage)
    parameters = list(inspect.signature(function).parameters)
    assert parameters[0] == "context"
    assert ("name" in parameters) == (STAGES[stage] is not None), "a stage of a system is given its name"
    assert stage.replace("_", "-") in COMMANDS
    assert f"rule {stage}:" in RULES or f'rules_of("{stage}")' in RULES
    assert f'simlm("{stage}"' in re.sub(r"\s", "", RULES)


def test_there_are_no_other_stages():
    assert {file.stem for file in (ROOT / "simlm" / "stages").glob("*.py")} == {"__init__", *STAGES}
    assert set(re.findall(r"^rule (\w+):", RULES, re.MULTILINE)) <= {"all", "write_config", *STAGES}


def test_a_record_is_opened_in_one_place():
    """So that no stage can state other settings, code or inputs than those that its rule reruns on."""
    opened = [
        str(file.relative_to(ROOT))
        for file in (ROOT / "simlm").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "StageRecord"
    ]
    assert opened == ["simlm/context.py"]


def test_the_workflow_names_no_kind():
    kinds = {kind.model_fields["kind"].annotation.__args__[0] for kind in KINDS}
    assert {"biencoder", "crossencoder"} <= kinds
    words = set(re.findall(r"[a-z_]+", re.sub(r"#.*", "", RULES)))
    assert not kinds & words


def test_every_input_is_made_by_an_earlier_job(smoke):
    made = {PATHS.config, *(PATHS.record(job.label) for job in jobs(smoke)), *(PATHS.benchmark(job.label) for job in jobs(smoke)), PATHS.record("report")}
    for job in [*jobs(smoke), Job("report"), Job("track")]:
        lacking = set(inputs_of(smoke, PATHS, job).values()) - made
        # The order of the chain is by stage; what a later training makes is found by the graph.
        assert all(makers(smoke, PATHS).get(file) in jobs(smoke) for file in lacking), (job, lacking)
        made |= set(outputs_of(smoke, PATHS, job))


def test_all_that_can_be_asked_for_has_one_maker(smoke):
    about = {stage: names_of(smoke, stage) if STAGES[stage] else [None] for stage in STAGES}
    every = [Job(stage, name, part) for stage, names in about.items() for name in names for part in parts_of(smoke, stage, name)]
    files = [file for job in every for file in outputs_of(smoke, PATHS, job)]
    assert len(files) == len(set(files))


def test_the_run_that_is_mined_has_a_search_of_its_own(smoke):
    found = [(part, names, [file.name for file in outputs]) for part, names, outputs in patterns(smoke, PATHS, "search_index")]
    dense = names_of(smoke, "search_index")
    assert found == [(None, dense, ["dev.trec", "test.trec"]), ("train", dense, ["train.parquet"])]


class Joint(ModelBlock):
    """Two models of one training."""

    kind: Literal["joint"]
    trainer: ClassVar[str] = "nowhere:train"

    def parts(self) -> dict[str, ModelBlock]:
        return {"retriever": self, "reranker": self}


class Plain(ModelBlock):
    kind: Literal["plain"]
    trainer: ClassVar[str] = "nowhere:train"


def test_a_model_of_parts_has_one_rule_with_several_outputs():
    models = {"one": Plain(kind="plain"), "joint": Joint(kind="joint"), "two": Plain(kind="plain")}
    experiment = SimpleNamespace(models=models, systems=models)
    alone, together = patterns(experiment, PATHS, "train")
    assert alone == (None, ["one", "two"], [PATHS.model("{model}") / "simlm.json"])
    assert together == (None, ["joint"], [PATHS.model("{model}.retriever") / "simlm.json", PATHS.model("{model}.reranker") / "simlm.json"])
