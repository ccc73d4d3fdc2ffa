"""The claims of docs/security.md that no other test holds."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import sys
import tarfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_world import CONFIGURATION, write_configuration, write_data

from simlm.cli import main

ROOT = Path(__file__).resolve().parents[2]
C = ["--config", "config.yaml"]


def calls():
    """(file, dotted name, call) of every call in the package."""
    for file in sorted((ROOT / "simlm").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                yield file, ast.unparse(node.func), node


def given(call: ast.Call, name: str):
    """The constant that a call passes by keyword, or None."""
    value = next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
    return value.value if isinstance(value, ast.Constant) else None


def test_the_package_calls_nothing_that_runs_what_it_reads():
    found = list(calls())
    names = {name for _, name, _ in found}
    assert not names & {"eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "yaml.unsafe_load", "yaml.full_load", "subprocess.getoutput"}
    assert not [file for file, _, call in found if given(call, "shell") or given(call, "trust_remote_code") or given(call, "allow_pickle")]
    assert not [file for file, name, call in found if name == "torch.load" and given(call, "weights_only") is not True]
    loaders = {ast.unparse(keyword.value) for _, name, call in found if name in ("yaml.load", "yaml.compose") for keyword in call.keywords}
    assert loaders <= {"_Loader", "yaml.SafeLoader"}
    from simlm.config.load import _Loader

    assert not [tag for tag in _Loader.yaml_constructors if tag and "python" in tag]


def test_shell_commands_quote_what_they_are_given():
    """Commands are put together by `simlm` in common.smk from what the rules give it."""
    numbers = {"resources.gpu", "resources.processes", "resources.runtime", "wildcards.shard", "wildcards.shards", "params.shards"}
    quoted_before = {"params.splits"}  # words that shlex has quoted
    common = (ROOT / "workflow" / "rules" / "common.smk").read_text()
    commands = [common[common.index("def simlm(") : common.index("def splits_of(")]]
    for file in sorted((ROOT / "workflow").rglob("*.smk")):
        commands += re.findall(r"\n +shell:\n((?: {8,}.*\n)+)", file.read_text())
    names = [name for command in commands for name in re.findall(r"(?<!\{)\{([a-z][^{}]*)\}(?!\})", command) if name != "launched"]
    for name in names:
        assert name.endswith(":q") or name in numbers | quoted_before, f"{{{name}}} is not quoted"
    assert {"wildcards.model:q", "log:q", "resources.gpu", "params.shards"} <= set(names)


@pytest.mark.slow
def test_a_results_folder_with_a_hostile_name_is_a_name(tmp_path):
    import subprocess

    hostile = "out $(touch owned1); touch owned2 & '\"` touch owned3`"
    write_data(tmp_path / "data")
    write_configuration(tmp_path, lambda values: values.update(results=hostile))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile"), "--cores", "1", "--configfile", "config.yaml"]
    done = subprocess.run([*command, "--", f"{hostile}/tiny/config.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / hostile / "tiny" / "config.yaml").exists()
    assert not list(tmp_path.rglob("owned*"))


def test_a_model_folder_with_code_runs_none(place, refused):
    """A foreign checkpoint may name classes of its own; they are neither imported nor asked for."""
    folder = place.paths.model("student")
    file = folder / "config.json"
    code = "import os\nos.system('touch owned')\n"
    (folder / "evil.py").write_text(code)
    for name, change in (
        ("auto_map", {"auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model", "AutoTokenizer": ["evil.T", None]}}),
        ("model_type", {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}}),
    ):
        content = json.loads(file.read_text())
        file.write_text(json.dumps(content | change))
        code = main(["encode", "--model", "student", *C])
        assert code in (0, 2), name
        assert not list(place.root.rglob("owned")), name
    sentence = refused(place, "encode", "--model", "student", *C)
    assert "computes with code of its own" in sentence


def test_an_archive_cannot_write_outside_its_folder(tmp_path):
    """ir_datasets unpacks some of its downloads; the rule for that is set where it is used."""
    from ir_datasets.util.fileio import TarExtractAll

    import simlm.corpus.ir_datasets_source  # noqa: F401

    if not hasattr(tarfile, "data_filter"):
        pytest.skip("this Python has no rule for archives")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("../owned")
        archive.addfile(member, io.BytesIO())

    class Download:
        @contextmanager
        def stream(self):
            packed.seek(0)
            yield packed

    with pytest.raises(tarfile.OutsideDestinationError):
        TarExtractAll(Download(), tmp_path / "inside").path()
    assert not (tmp_path / "owned").exists()


def test_sentences_do_not_move_the_cursor(tmp_path, capfd):
    run, qrels = tmp_path / "a.trec", tmp_path / "a.qrels"
    run.write_text("q Q0 \x1b[2J\x1b[31md 1 2.0 x\nq Q0 \x1b[2J\x1b[31md 2 1.0 x\n")
    qrels.write_text("q 0 d 1\n")
    assert main(["evaluate", "--run", str(run), "--qrels", str(qrels)]) == 2
    err = capfd.readouterr().err
    assert "\x1b" not in err
    assert "\\x1b[31md" in err


def test_a_record_cannot_publish_files_of_this_machine(place):
    from simlm.config import validate
    from simlm.context import Context
    from simlm.records.stages import read_stages
    from simlm.tracking.artifacts import stage_artifacts

    secret = place.root / "secret.txt"
    secret.write_text("secret")
    file = place.paths.record("evaluate")
    record = json.loads(file.read_text())
    inside = str(place.paths.metrics("bm25", "test"))
    record["outputs"] |= {
        "metrics": {"path": inside},
        "x": {"path": str(secret)},
        "y": {"path": "../../../secret.txt"},
        "z": {"path": f"{place.paths.root}/../../secret.txt"},
    }
    file.write_text(json.dumps(record))
    context = Context(validate(CONFIGURATION), place.paths)
    stage = next(stage for stage in read_stages(context.experiment, context.paths) if stage.name == "evaluate")
    with stage_artifacts(stage, context.paths) as folder:
        stored = [path.name for path in folder.rglob("*")]
        assert not [name for name in stored if "secret" in name]
        assert f"{Path(inside).parent.name}_{Path(inside).name}" in stored


def test_a_store_of_a_database_shows_no_password(tmp_path, monkeypatch):
    from made_results import MadeResults

    from simlm.commands.ui import server_command
    from simlm.tracking.store import store_of

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg://me:pa55word@127.0.0.1:9/x")
    store = store_of(MadeResults(tmp_path / "results").experiment, tmp_path)
    assert "pa55word" not in store.shown
    assert "pa55word" not in store.without_password(f"cannot connect to {store.uri}")
    command, _ = server_command(store, 0)
    assert "pa55word" not in " ".join(command)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert os.environ["MLFLOW_TRACKING_URI"] == store.uri
