"""Every command that the documentation, a docstring or a comment of a configuration gives exists and takes these options."""

from __future__ import annotations

import ast
import html
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from made_results import MadeResults
from snakemake.cli import get_argument_parser

from simlm.cli import COMMANDS, main, parser_of
from simlm.config import load_experiment
from simlm.hardware import available_cores, machine_cores
from simlm.machine import describe
from simlm.report.page import write_report
from tests.workflow.plans import snakemake_in_fork

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"docs": ("md",), "pretrained": ("md",), "config": ("md", "yaml"), "simlm": ("py",)}
TEXTS = [ROOT / "README.md", *(file for folder, endings in FOLDERS.items() for ending in endings for file in (ROOT / folder).rglob(f"*.{ending}"))]
LINE = re.compile(r"^\s*(?:\.venv/bin/)?simlm ([a-z][a-z-]*(?: [^#]*)?)", re.MULTILINE)
"""A command on a line of its own; what stands behind three spaces or a hash explains it."""
INLINE = re.compile(r"`+(?:\.venv/bin/)?simlm ([a-z][^`{]*)`")
FILE = re.compile(r"(?<![\w/])config/[\w/-]+\.yaml")


def commands(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    found = []
    for file in TEXTS:
        for line in file.read_text(encoding="utf-8").splitlines() if pattern is LINE else [file.read_text(encoding="utf-8")]:
            found += [(str(file.relative_to(ROOT)), match[1]) for match in pattern.finditer(line)]
    return found


def words_of(command: str) -> list[str]:
    return shlex.split(re.split(r"\s{3,}", command)[0], comments=True)


def parses(words: list[str]) -> bool:
    try:
        parser_of(words[0]).parse_args(words[1:])
    except (SystemExit, ValueError):
        return False
    return True


def test_commands_on_lines_of_their_own_parse():
    lines = [(file, words_of(command)) for file, command in commands(LINE)]
    lines = [(file, words) for file, words in lines if words[0] in COMMANDS or "--" in " ".join(words)]  # the rest is prose
    assert len(lines) > 40
    wrong = [f"{file}: simlm {' '.join(words)}" for file, words in lines if words[0] not in COMMANDS or not parses(words)]
    assert not wrong, "\n".join(wrong)


def test_commands_inside_sentences_exist_with_their_options():
    wrong = []
    for file, command in commands(INLINE):
        name, *others = command.split()
        options = [word.partition("=")[0] for word in others if word.startswith("--")]
        if name not in COMMANDS or set(options) - parser_of(name)._option_string_actions.keys():
            wrong.append(f"{file}: simlm {command}")
    assert not wrong, "\n".join(wrong)


def texts_in(file: Path) -> list[str]:
    """Texts of a module; what is put into one while it runs stands there as ``x``."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    found = [
        "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
    ]
    return found + [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts]


def test_commands_in_messages_exist_with_their_options():
    """What an error or a last line tells the user to type: ``run simlm fuse --model x first``."""
    wrong, seen = [], 0
    for file in (ROOT / "simlm").rglob("*.py"):
        for text in texts_in(file):
            for name, options in re.findall(r"(?<![\w./-])simlm ([a-z]+(?:-[a-z]+)*)((?: --?[a-z][a-z-]*(?: [^\s-]\S*)?)+)", text):
                seen += 1
                asked = re.findall(r"(?<= )--?[a-z][a-z-]*", options)
                if name not in COMMANDS or set(asked) - parser_of(name)._option_string_actions.keys():
                    wrong.append(f"{file.relative_to(ROOT)}: simlm {name}{options}")
    assert seen > 40
    assert not wrong, "\n".join(wrong)


def test_a_wrong_command_is_found():
    assert not parses(words_of("mine-negatives --config config/config.yaml --source bm25"))
    assert parses(words_of("mine-negatives --config config/config.yaml --model bm25   # the negatives"))


@pytest.mark.parametrize("file", sorted({name for text in TEXTS for name in FILE.findall(text.read_text(encoding="utf-8"))}))
def test_configurations_that_are_named_are_there(file):
    assert (ROOT / file).exists()


def test_make_reads_configurations_that_fit_together():
    for text in TEXTS:
        for files in re.findall(r'CONFIG="([^"]+)"', text.read_text(encoding="utf-8")):
            there = [ROOT / name for name in files.split() if (ROOT / name).exists()]
            assert there
            load_experiment(*there)


WORKFLOW = re.compile(r"^\W{0,2}\s*((?:\.venv/bin/)?snakemake (?=[^#]*--?(?:cores|workflow-profile|n\b))[^#\n]*)", re.MULTILINE)
"""Calls of Snakemake on a line of their own, in documents, comments of configurations and the page's template."""
WORKFLOW_TEXTS = [*TEXTS, *(ROOT / "workflow" / "profiles").rglob("config.yaml"), *(ROOT / "pretrained").glob("*.py")]


def workflow_calls(*texts: str) -> list[str]:
    """Calls of Snakemake in texts, continued lines joined."""
    return list(dict.fromkeys(match[1].strip().strip("`") for text in texts for match in WORKFLOW.finditer(text.replace("\\\n", " "))))


DOCUMENTED = workflow_calls(*(file.read_text(encoding="utf-8") for file in WORKFLOW_TEXTS))
STANDS_FOR = ("mine.yaml", "my-experiment.yaml", "experiment.yaml", "nfcorpus.yaml")
"""Names that documents use for the reader's own configuration: a whole one, or a line laid over another file."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What a reader has after `make setup`, and a configuration under each name that stands for the reader's own."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("workflow", "config", "pretrained", "simlm"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    for name in STANDS_FOR:
        (folder / name).write_text((ROOT / "config" / "smoke.yaml").read_text())
    for name, line in (("my-profile", "cores: 2"), ("only-plan", "dry-run: true")):
        (folder / name).mkdir()
        (folder / name / "config.yaml").write_text(line + "\n")
    return folder


def planned(command: str, folder: Path) -> str:
    """What a command says as it stands, with a profile that makes Snakemake plan instead of run."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    code, said = snakemake_in_fork(shlex.split(command)[1:], folder, {**environment, "SNAKEMAKE_PROFILE": str(folder / "only-plan")}, 240)
    assert code == 0, said
    return said


def test_configurations_are_given_to_snakemake_as_files_and_targets_behind_two_dashes():
    assert len(DOCUMENTED) > 8
    for command in DOCUMENTED:
        read = get_argument_parser().parse_args(shlex.split(command)[1:])
        files = [str(file) for file in read.configfile or []]
        wrong = [file for file in files if not (file in STANDS_FOR or (ROOT / file).exists())]
        assert not wrong, f"{command}: {wrong} are read as configuration files"
        assert all(target == "all" or "/" in target for target in read.targets), command


@pytest.mark.slow
@pytest.mark.parametrize("command", DOCUMENTED)
def test_documented_calls_of_snakemake_plan_as_they_stand(command, clone):
    if cluster := re.search(r"profiles/(\w+)", command):
        pytest.importorskip(f"snakemake_executor_plugin_{cluster[1]}")
    if overlay := re.search(r"config/[\w-]+\.yaml (mine\.yaml)", command):
        (clone / overlay[1]).write_text("models: {distilled: {learning_rate: 0.0005}}\n")
    try:
        assert re.search(r"^Job stats:|Nothing to be done", planned(command, clone), re.MULTILINE)
    finally:
        (clone / "mine.yaml").write_text((ROOT / "config" / "smoke.yaml").read_text())


@pytest.mark.slow
def test_what_the_report_and_the_summary_print_runs_as_it_stands(clone, capsys):
    made = MadeResults(clone / "results", name="printed", corpus={"source": "python_docs", "packages": ["networkx"], "max_passages": 600})
    page = html.unescape(write_report(made.context).read_text(encoding="utf-8"))
    (command,) = workflow_calls(re.search(r"<pre[^>]*>(make setup\n.*?)</pre>", page, re.DOTALL)[1])
    (clone / "experiment.yaml").write_text(re.search(r"The resolved configuration</summary>.*?<pre[^>]*>(.*?)</pre>", page, re.DOTALL)[1])
    assert "train_tokenizer" in planned(command, clone)
    made.paths.metrics_table.unlink()
    assert main(["summary", "--experiment", "printed", "--results", str(clone / "results")]) == 2
    (command,) = re.findall(r"`((?:\S*/)?snakemake [^`]+)`", capsys.readouterr().err)
    planned(command, clone)


def test_a_record_says_how_many_cores_the_machine_has_and_not_the_jobs_share(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert describe()["cores"] == machine_cores()
    assert available_cores() == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert machine_cores() == available_cores()


def test_commands_take_snakemakes_word_for_a_configuration(capsys):
    smoke = str(ROOT / "config" / "smoke.yaml")
    assert main(["check", "--configfile", smoke]) == 0
    printed = capsys.readouterr().out
    assert main(["check", "--config", smoke]) == 0
    assert capsys.readouterr().out == printed
