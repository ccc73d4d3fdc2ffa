"""Results that are empty, cut or full of zeros are found before a workflow plans its jobs, and made again by the plain command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from simlm import damage
from simlm.digests import describe
from simlm.files import sealed, sha256_file
from simlm.paths import Paths

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def results(tmp_path):
    """Files as the stages leave them: a model, a run and a BM25 index, with their manifests and records."""
    paths = Paths(tmp_path / "results" / "tiny")

    def record(stage, **files):
        outputs = {name: {"path": str(file), "bytes": file.stat().st_size, "sha256": sha256_file(file)} for name, file in files.items()}
        put(paths.record(stage), json.dumps(sealed({"outputs": outputs, "metrics": {"seconds": 12}})).encode())

    def put(file, content):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    weights = put(paths.model("base") / "model.safetensors", b"\x08weights" * 100)
    put(paths.model("base") / "tokenizer.json", b'{"model": {}}')
    about = {"bytes": weights.stat().st_size, "sha256": sha256_file(weights)}
    beside = describe(paths.model("base"), but=("model.safetensors",))
    record("train.base", weights=weights, manifest=put(paths.model("base") / "simlm.json", json.dumps({"weights": about, "files": beside}).encode()))
    put(paths.corpus / "queries" / "test.tsv", b"q\tsort\n")
    put(paths.corpus / "manifest.json", json.dumps({"files": describe(paths.corpus)}).encode())
    record("prepare_corpus", manifest=paths.corpus / "manifest.json")
    record("search_bm25", test=put(paths.run("bm25", "test"), b"q Q0 d 1 2.0 x\n"))
    array = put(paths.bm25 / "data.npy", b"\x93NUMPY" * 10)
    before = {array.name: array.stat().st_size}  # an earlier version's
    put(paths.bm25 / "manifest.json", json.dumps({"files": before}).encode())
    record("index_bm25", manifest=paths.bm25 / "manifest.json")
    put(paths.metrics("bm25", "test"), b"{}")
    return paths


def zeros(file):
    file.write_bytes(bytes(file.stat().st_size))


def empty(file):
    file.write_bytes(b"")


def shorter(file):
    file.write_bytes(file.read_bytes()[:-1])


def absent(file):
    file.unlink()


def another(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cooler(file):
    """A record that is JSON and says something else."""
    file.write_bytes(file.read_bytes().replace(b'"seconds": 12', b'"seconds": 11'))


WEIGHTS, RUN, ARRAY = "models/base/model.safetensors", "runs/bm25/test.trec", "bm25/data.npy"
TRAINED, SEARCHED = ["models/base/simlm.json", "stages/train.base.json"], [RUN, "stages/search_bm25.json"]
INDEXED = ["bm25/manifest.json", "stages/index_bm25.json"]
CASES = [
    (WEIGHTS, zeros, TRAINED), (WEIGHTS, empty, TRAINED), (WEIGHTS, shorter, TRAINED), (WEIGHTS, absent, TRAINED), (WEIGHTS, another, TRAINED),
    ("models/base/tokenizer.json", empty, [*TRAINED, "models/base/tokenizer.json"]), (RUN, zeros, SEARCHED), (RUN, shorter, SEARCHED),
    (RUN, another, SEARCHED), (ARRAY, zeros, INDEXED), (ARRAY, shorter, INDEXED), (ARRAY, absent, INDEXED),
    ("models/base/tokenizer.json", another, [*TRAINED, "models/base/tokenizer.json"]), ("models/base/simlm.json", another, TRAINED),
    ("corpus/queries/test.tsv", another, ["corpus/queries/test.tsv", "corpus/manifest.json", "stages/prepare_corpus.json"]),
    ("stages/train.base.json", cooler, ["stages/train.base.json"]), ("stages/train.base.json", empty, ["stages/train.base.json"]),
    ("evaluation/bm25/test.json", zeros, ["evaluation/bm25/test.json"]),
    ("models/base/simlm.json", zeros, TRAINED),
]  # fmt: skip


def test_whole_results_are_whole(results):
    assert damage.find(results, digests=True) == []


@pytest.mark.parametrize(("name", "harm", "gone"), CASES)
def test_what_stands_for_damaged_files_goes_and_nothing_else(results, name, harm, gone):
    before = {str(file.relative_to(results.root)) for file in results.root.rglob("*") if file.is_file()}
    harm(results.root / name)
    found = damage.find(results)
    assert [str(each.file.relative_to(results.root)) for each in found] == [name]
    damage.undo(found)
    after = {str(file.relative_to(results.root)) for file in results.root.rglob("*") if file.is_file()}
    assert sorted(before - after) == sorted({*gone, *([name] if harm is absent else [])})
    assert damage.find(results) == [] or harm in (zeros, empty, shorter)  # arrays and weights lie there until they are made again


def test_a_record_cannot_have_files_elsewhere_removed(results, tmp_path):
    outside = tmp_path / "outside.json"
    outside.write_bytes(b"")
    outputs = {"x": {"path": str(outside), "bytes": 3}, "y": {"path": f"{results.root}/../../outside.json", "bytes": 3}}
    results.record("odd").write_text(json.dumps({"outputs": outputs}))
    damage.undo(damage.find(results))
    assert outside.exists()


def test_a_workflow_that_ended_with_its_machine_is_known(results, monkeypatch, tmp_path):
    assert not damage.ended_with_machine(results)
    damage.begin(results)
    assert not damage.ended_with_machine(results), "killed, but what it wrote is in the memory of this machine"
    other = tmp_path / "boot"
    other.write_text("another start\n")
    monkeypatch.setattr(damage, "BOOT", other)
    assert damage.ended_with_machine(results)
    damage.end(results)
    assert not damage.ended_with_machine(results)


@pytest.mark.slow
def test_the_plain_command_makes_damaged_results_again(tmp_path):
    from small_world import write_configuration, write_data

    def lexical(values):
        values["models"] = {"base": values["models"]["base"]}
        values["evaluate"] |= {"systems": ["bm25"]}
        values["tracking"] = {"live": False}

    write_data(tmp_path / "data")
    config = write_configuration(tmp_path, lexical)
    assert yaml.safe_load(config.read_text())["tracking"] == {"live": False}
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile"), "--cores", "1", "--configfile", str(config)]

    def run():
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    run()
    paths = Paths(tmp_path / "results" / "tiny")
    table = paths.metrics_table.read_bytes()
    harmed = ("bm25/manifest.json", "runs/bm25/test.trec")
    for name in harmed:
        zeros(paths.root / name)
    said = run()
    for name in harmed:
        assert f"results/tiny/{name} is full of zeros: what made it runs again." in said
        assert any((paths.root / name).read_bytes()[:8])
    assert paths.metrics_table.read_bytes() == table
    assert "runs again" not in run()
    another(paths.run("bm25", "test"))
    (paths.root / ".config" / "running.json").write_text(json.dumps({"boot": "another"}))
    said = run()
    assert "The last workflow ended with its machine" in said
    assert "test.trec is not what its digest says" in said
    assert damage.find(paths, digests=True) == []
    assert paths.metrics_table.read_bytes() == table
