"""Results that were made with other settings, code or inputs than those asked for are made again or refused, whoever made them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import pytest
import yaml
from small_world import write_configuration, write_data

from simlm import digests
from simlm.cli import main
from simlm.config import load_experiment
from simlm.config.belonging import misfits
from simlm.config.local_files import corpus_files, model_files
from simlm.digests import Digests, digests_below
from simlm.errors import UserError
from simlm.files import sealed
from simlm.paths import Paths
from tests.workflow.conftest import run_snakemake

CHAIN = ["prepare-corpus", "train-tokenizer", "index-bm25", "search-bm25", "evaluate", "compare-systems"]


def lexical(values):
    values["models"] = {"base": values["models"]["base"]}
    values["evaluate"] |= {"systems": ["bm25"]}
    values["tracking"] = {"live": False}


@pytest.fixture(scope="module")
def made_by_hand(tmp_path_factory):
    folder, before = tmp_path_factory.mktemp("lexical"), Path.cwd()
    os.chdir(folder)
    try:
        write_data(folder / "data")
        write_configuration(folder, lexical)
        for command in CHAIN:
            assert main([command, "--config", "config.yaml"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def here(made_by_hand, tmp_path, monkeypatch):
    # With their dates, as `cp -a` and `mv` have them.
    shutil.copytree(made_by_hand, tmp_path / "here", copy_function=shutil.copy2)
    monkeypatch.chdir(tmp_path / "here")
    digests_below.cache_clear()
    return Paths(Path("results/tiny"))


def labels(config: str = "config.yaml") -> dict[str, str]:
    digests_below.cache_clear()
    experiment = load_experiment(config)
    return {each.job.label: f"{each.reason}: {each.what}" for each in misfits(experiment, Paths(Path("results") / experiment.name))}


def other(**bm25) -> str:
    values = yaml.safe_load(Path("config.yaml").read_text())
    Path("other.yaml").write_text(yaml.safe_dump(values | {"bm25": bm25}))
    return "other.yaml"


def refusal(capsys, *arguments: str) -> str:
    capsys.readouterr()
    digests_below.cache_clear()
    assert main(list(arguments)) == 2
    return capsys.readouterr().err


def test_what_was_made_with_a_configuration_belongs_to_it(here):
    assert labels() == {}


def test_a_renamed_folder_is_the_same(here):
    values = yaml.safe_load(Path("config.yaml").read_text())
    Path("renamed.yaml").write_text(yaml.safe_dump(values | {"name": "renamed"}))
    here.root.rename("results/renamed")
    assert labels("renamed.yaml") == {}
    assert main(["summary", "--config", "renamed.yaml"]) == 0


def test_an_experiment_that_ran_by_hand_is_found_by_its_name(here, capsys):
    assert yaml.safe_load(here.config.read_text())["name"] == "tiny"
    assert main(["summary", "--experiment", "tiny"]) == 0
    assert "bm25" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["summary"], ["report"], ["track"], ["search", "sort the list"]])
def test_figures_of_other_settings_are_refused(here, capsys, command):
    before = {file: file.read_bytes() for file in here.root.rglob("*") if file.is_file() and file.name != "digests.jsonl"}
    assert "index_bm25 (settings: k1)" in refusal(capsys, *command, "--config", other(k1=3.0))
    assert {file: file.read_bytes() for file in before} == before


def test_a_stage_by_hand_with_other_settings_leaves_no_old_figures(here, capsys):
    assert main(["index-bm25", "--config", other(k1=3.0)]) == 0
    assert "search_bm25 (inputs: index)" in refusal(capsys, "summary", "--experiment", "tiny")
    assert "index_bm25 (settings: k1)" in refusal(capsys, "summary", "--config", "config.yaml")
    assert "search_bm25 (inputs: index)" in refusal(capsys, "evaluate", "--experiment", "tiny")
    assert "search_bm25 (inputs: index)" in refusal(capsys, "compare")


def test_a_search_of_one_split_takes_the_record_of_all_with_it(here):
    values = yaml.safe_load(Path("config.yaml").read_text())
    values["evaluate"]["depth"] = 7
    Path("other.yaml").write_text(yaml.safe_dump(values))
    assert here.record("search_bm25").exists()
    assert main(["search-bm25", "--splits", "test", "--config", "other.yaml"]) == 0
    assert not here.record("search_bm25").exists(), "the run of test is no longer the one that it states"
    assert here.record("search_bm25.test").exists()


def same_size_and_date(file: Path, old: str, new: str) -> None:
    assert len(old) == len(new)
    text, about = file.read_text(), file.stat()
    assert old in text
    file.write_text(text.replace(old, new))
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_a_corpus_of_the_same_size_and_date_is_another(here):
    assert labels() == {}, "and with that its digest is known"
    same_size_and_date(Path("data/corpus.jsonl"), "swap", "swat")
    assert labels() == {"prepare_corpus": "inputs: data/corpus.jsonl"}


def test_judgements_in_another_form_are_inputs(here):
    Path("data/qrels/test.tsv").rename("data/qrels/test.csv")
    assert labels()["prepare_corpus"].startswith("inputs: data/qrels/test")


def test_sources_that_are_gone_are_no_reason_to_refuse_what_was_made_of_them(here):
    shutil.rmtree("data")
    assert main(["summary", "--experiment", "tiny"]) == 0


def test_other_code_is_another_result_but_can_be_read(here):
    record = json.loads(here.record("prepare_corpus").read_text())
    here.record("prepare_corpus").write_text(json.dumps(sealed(record | {"code": "of last year"})))
    assert labels() == {"prepare_corpus": "code: "}
    assert main(["summary", "--experiment", "tiny"]) == 0


def test_a_run_cut_at_the_end_of_a_line_is_not_judged(here, capsys):
    file = here.run("bm25", "test")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[: len(lines) // 2]))
    sentence = refusal(capsys, "evaluate", "--config", "config.yaml")
    assert f"{file} has " in sentence
    assert "run the stage search_bm25 again" in sentence


@pytest.mark.parametrize("name", ["metrics.tsv", "evaluation/comparisons.tsv", "evaluation/bm25/test.json"])
def test_a_table_with_another_byte_is_not_shown(here, capsys, name):
    file = here.root / name
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    assert f"{file} is not what its digest says" in refusal(capsys, "summary", "--config", "config.yaml")


def test_a_reranker_of_another_start_does_not_rerank(made):
    file = made.paths.record("train.reranker")
    made.context.require_belonging("rerank", "reranker")
    record = json.loads(file.read_text())
    file.write_text(json.dumps(sealed(record | {"settings": record["settings"] | {"init": "simlm"}})))
    with pytest.raises(UserError, match=r"train\.reranker \(settings: init\)"):
        made.context.require_belonging("rerank", "reranker")
    made.context.require_belonging("fuse", "control")


def test_files_of_models_and_sources_that_lie_outside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shards = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "pytorch_model.bin.index.json"]
    Path("m").mkdir()
    for name in ("config.json", "tokenizer.json", "vocab.txt", "special_tokens_map.json", *shards):
        Path("m", name).write_text("{}")
    assert {file.name for file in model_files(Path("m"))} == {"config.json", "tokenizer.json", "vocab.txt", "special_tokens_map.json", *shards}
    for name in ("data/corpus/part.parquet", "data/queries.csv", "data/qrels/test.jsonl", "data/qrels/train.tsv", "data/notes.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("x")
    experiment = load_experiment(write_configuration(tmp_path, lexical))
    block = type(experiment).model_validate({**experiment.model_dump(), "corpus": {"source": "hub", "id": "data", "splits": {"test": "test"}}, "evaluate": {
        **experiment.evaluate.model_dump(), "splits": {"test": {}}}})  # fmt: skip
    found = {str(file) for file in corpus_files(block)}
    assert found == {"data/corpus/part.parquet", "data/queries.csv", "data/qrels/test.jsonl", "data/qrels/train.tsv"}


def test_digests_are_read_again_only_when_a_file_was_touched(tmp_path, monkeypatch):
    (tmp_path / "stages").mkdir()
    file, read = tmp_path / "a.txt", []
    file.write_text("apples")
    os.utime(file, (1, 1))
    monkeypatch.setattr(digests, "sha256_file", lambda path: read.append(path) or hashlib.sha256(path.read_bytes()).hexdigest())
    first = Digests(tmp_path)
    for _ in range(2):
        assert first.of(file) == hashlib.sha256(b"apples").hexdigest()
    assert len(read) == 2, "it was written a moment ago: another change may have the same date"
    assert not first.file.exists()
    later = time.time_ns() + 2_100_000_000
    monkeypatch.setattr(digests.time, "time_ns", lambda: later)
    first.of(file)
    with open(first.file, "a") as stream:
        stream.write('["b.txt", 1, 2\n{"a": 1}\n[1, 2]\n')
    assert Digests(tmp_path).of(file) == first.of(file)
    assert len(read) == 3, "known, so not read"
    same_size_and_date(file, "apples", "pears!")
    assert Digests(tmp_path).of(file) == hashlib.sha256(b"pears!").hexdigest()


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    (tmp_path / "stages").mkdir()
    file = tmp_path / "a.txt"
    file.write_text("apples")
    later = time.time_ns() + 60_000_000_000
    monkeypatch.setattr(digests.time, "time_ns", lambda: later)

    def read(path):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.write_text("pears!")
        return digest

    monkeypatch.setattr(digests, "sha256_file", read)
    known = Digests(tmp_path)
    known.of(file)
    assert known.known(file) is None


@pytest.mark.slow
def test_snakemake_makes_again_what_it_does_not_remember(tmp_path):
    write_data(tmp_path / "data")
    config = write_configuration(tmp_path, lexical)

    def run(*arguments: str, configs: tuple[Path, ...] = (config,)) -> str:
        done = run_snakemake(tmp_path, "--cores", "1", *arguments, configs=list(configs), seconds=600)
        assert done.code == 0, done.text
        return done.text

    def tree() -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in (tmp_path / "results").rglob("*") if file.is_file() and ".config" not in file.parts}

    run()
    shutil.rmtree(tmp_path / ".snakemake")
    assert "Nothing to be done" in run()
    over = tmp_path / "k1.yaml"
    over.write_text("bm25: {k1: 3.0}\n")
    before = tree()
    shutil.rmtree(tmp_path / ".snakemake")
    plan = run("-n", configs=(config, over))
    assert "index_bm25 (settings: k1)" in plan
    assert "Mirroring the results to MLflow" in plan
    assert tree() == before, "a dry run changes nothing"
    assert "Searching with BM25" in run(configs=(config, over))
    assert json.loads((tmp_path / "results/tiny/stages/index_bm25.json").read_text())["settings"]["k1"] == 3.0
    shutil.rmtree(tmp_path / ".snakemake")
    assert "Nothing to be done" in run(configs=(config, over))
    same_size_and_date(tmp_path / "data/corpus.jsonl", "swap", "swat")
    assert "prepare_corpus (inputs: data/corpus.jsonl)" in run("-n", configs=(config, over))
