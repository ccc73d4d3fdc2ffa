"""MS MARCO from download to gate: the shipped configurations with only sizes overridden, on small data in the true layout.

Hugging Face is a server of the test's own, so that ids, revisions, caches and files are those of the real thing; the
ir_datasets home is filled with files of the official names and forms.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from hub_server import Hub
from msmarco_home import PASSAGES, Collection, collection
from published_models import write_all, write_titles

from simlm.corpus.store import CorpusStore
from simlm.evaluation.compare import MetricRow, read_rows
from simlm.evaluation.gate import Verdict

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "http://127.0.0.1:9"
SHORT = {"steps": 3, "batch_size": 4, "micro_batch_size": 2, "warmup_steps": 1, "holdout": 3, "threads": 1, "log_steps": 1, "gpus": 0}


@dataclass
class World:
    """Everything outside of the repository that a run sees."""

    made: Collection
    hub: Hub
    home: Path
    environment: dict[str, str]

    def offline(self) -> dict[str, str]:
        """The same without any network: what compute nodes have."""
        return {**self.environment, "HF_ENDPOINT": NOWHERE}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    made = collection()
    words = re.findall(r"\w+", " ".join([*made.passages, *(text for texts in made.queries.values() for text in texts.values())]))
    write_all(folder / "hub", words)
    write_titles(folder / "hub/datasets/Tevatron/msmarco-passage-corpus", made.passages, made.titles)
    hub = Hub(folder / "hub")
    home = made.write(folder / "ir_datasets")
    with hub.serve() as address:
        yield World(made, hub, home, environment(home, folder / "huggingface", address))


def environment(home: Path, cache: Path, address: str) -> dict[str, str]:
    """No other network than the one at ``address``."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "OMP_", "HF_", "IR_DATASETS_"))}
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"), NOWHERE)
    return {**plain, **proxies, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1", "HF_ENDPOINT": address, "HF_HOME": str(cache), "IR_DATASETS_HOME": str(home)}


def expected(made: Collection, *splits: str) -> dict:
    names = {"train": "train", "dev": "dev", "dl19": "2019", "dl20": "2020"}
    return {"passages": PASSAGES, "queries": {split: made.judged(names[split]) for split in splits}}


def smaller(made: Collection, kind: str, **over) -> dict:
    """Sizes alone: counts, lengths of training, depths, shards."""
    shared = {
        "encoding": {"shards": 1, "threads": 1, "gpus": 0, "batch_size": 16},
        "evaluate": {"depth": 40, "resamples": 100},
        "precision": "fp32",
    }
    if kind == "released":
        models = {
            "distilled": {"threads": 1},
            "reranker": {"threads": 1, "gpus": 0, "rerank_depth": 10},
            "colbertv2": {"threads": 1},
            "cocondenser": {"threads": 1},
        }
        return {**shared, "corpus": {"expected": expected(made, "dev", "dl19", "dl20")}, "models": models, **over}
    retriever = {**SHORT, "epochs": None, "hard_negatives": 2}
    models = dict.fromkeys(("control", "retriever1", "retriever2", "distilled"), retriever)
    models["simlm"] = {**SHORT, "batch_size": 8, "probe": {"every_steps": 3, "queries": 5, "passages": 30}}
    models["reranker"] = {**SHORT, "epochs": None, "hard_negatives": 7, "rerank_depth": 10}
    negatives = {"depth": 20, "sample": 8, "pad_to": 10}
    return {**shared, "corpus": {"expected": expected(made, "train", "dev", "dl19", "dl20")}, "models": models, "negatives": negatives, **over}


def overlay(file: Path, values: dict) -> Path:
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return file


def table(folder: Path, name: str) -> dict[tuple[str, str, str], float]:
    return {(row.system, row.split, row.metric): row.value for row in read_rows(folder / "results" / name / "metrics.tsv", MetricRow)}


def verdicts(folder: Path, name: str) -> dict[tuple[str, str, str], Verdict]:
    return {(row.system, row.split, row.metric): row for row in read_rows(folder / "results" / name / "reproduction.tsv", Verdict)}


def published_as(file: Path, values: dict[tuple[str, str, str], float], **change: float) -> Path:
    """The shipped file of published figures, for a corpus of our size and with our figures in print (three digits)."""
    content = yaml.safe_load((ROOT / "config/published.yaml").read_text())
    content["collection"]["passages"] = PASSAGES
    made = collection()
    for split, name in (("dev", "dev"), ("dl19", "2019"), ("dl20", "2020")):
        content["splits"][split]["queries"] = made.judged(name)
    for entry in content["systems"]:
        for split, metrics in entry["metrics"].items():
            for metric in metrics:
                metrics[metric] = round(values.get((entry.get("counterpart"), split, metric), 0.0), 3) + change.get(entry.get("counterpart"), 0.0)
    return overlay(file, content)


# ------------------------------------------------------------------------------------------------ the whole graph


@pytest.fixture(scope="module")
def trained(one_process, world, tmp_path_factory):
    """config/msmarco.yaml, everything but the sizes as it is shipped."""
    folder = tmp_path_factory.mktemp("msmarco")
    small = overlay(folder / "small.yaml", smaller(world.made, "msmarco"))
    done = one_process(folder, configs=[ROOT / "config/msmarco.yaml", small], environment=world.environment)
    assert done.code == 0, done.text[-6000:]
    return folder


@pytest.mark.slow
def test_the_shipped_configuration_runs_from_download_to_gate(trained, world):
    results = trained / "results/msmarco"
    systems = ["bm25", "retriever1", "retriever2", "reranker", "distilled"]
    assert {key[:2] for key in table(trained, "msmarco")} == {(system, split) for system in systems for split in ("dev", "dl19", "dl20")}
    fetched = json.loads((results / "inputs.json").read_text())
    assert set(fetched["models"]) == {"google-bert/bert-base-uncased", "google/electra-base-generator", "google/electra-base-discriminator"}
    assert "model.safetensors" in fetched["models"]["google-bert/bert-base-uncased"]["files"]
    assert "pytorch_model.bin" in fetched["models"]["google/electra-base-generator"]["files"]
    assert fetched["corpus"]["titles"]["commit"] == world.hub.commit(world.hub.folder("datasets", "Tevatron/msmarco-passage-corpus"))
    paths = {path for _, path, _ in world.hub.asked}
    assert not [path for path in paths if path.endswith((".h5", ".py")) or "onnx" in path]
    assert not (results / "models/control").exists()
    assert json.loads((results / "models/reranker/config.json").read_text())["architectures"] == ["ElectraForSequenceClassification"]
    # Sixty passages are not the published corpus: nothing is judged, and each cell says why.
    lines = verdicts(trained, "msmarco").values()
    assert {line.verdict for line in lines} == {"not comparable"}
    assert {line.reason for line in lines} == {"the corpus has 60 passages, the published one 8,841,823"}
    assert {line.system for line in lines} == set(systems)
    page = (results / "report.html").read_text()
    assert "titles: rocketqa, from Tevatron/msmarco-passage-corpus" in page
    assert "not comparable" in page


@pytest.mark.slow
def test_the_corpus_store_is_the_official_collection(trained, world):
    store = CorpusStore(trained / "results/msmarco/corpus")
    made = world.made
    assert store.ids(range(PASSAGES)) == [str(i) for i in range(PASSAGES)]
    titles, texts = store.texts(range(PASSAGES))
    assert texts == made.passages  # every seventh was broken in the file
    assert titles == [made.titles.get(i, "") for i in range(PASSAGES)]
    judged = {query for query, _, _ in made.qrels["train"]}
    assert set(store.queries("train")) == judged
    assert len(judged) < len(made.queries["train"])
    for split, name in (("dev", "dev"), ("dl19", "2019"), ("dl20", "2020")):
        wanted: dict[str, dict[str, int]] = {}
        for query, passage, grade in made.qrels[name]:
            wanted.setdefault(query, {})[passage] = grade
        assert store.qrels(split) == wanted
        assert store.queries(split) == {query: made.queries[name][query] for query in made.queries[name] if query in wanted}
    assert store.manifest["expected"] == expected(made, "train", "dev", "dl19", "dl20")


@pytest.mark.slow
def test_nothing_is_done_twice_and_nothing_needs_the_network(snakemake, trained, world):
    again = snakemake(trained, "-n", "--cores", "2", configs=[ROOT / "config/msmarco.yaml", trained / "small.yaml"], environment=world.offline())
    assert again.nothing_to_do, again.text[-3000:]
    other = overlay(trained / "other.yaml", {"models": {"reranker": {"init": "google-bert/bert-base-uncased@main"}}})
    files = [ROOT / "config/msmarco.yaml", trained / "small.yaml", other]
    plan = snakemake(trained, "-n", "--cores", "2", configs=files, environment=world.offline())
    # What does not read the other model stays.
    assert {job for job in plan.jobs if job.startswith(("Training", "Reading"))} == {"Training reranker", "Training distilled"}


@pytest.fixture(scope="module")
def released(one_process, snakemake, world, tmp_path_factory):
    """config/released.yaml with a published figure that it cannot reach, and the gate closed: what Snakemake says of it when all else is there."""
    folder = tmp_path_factory.mktemp("released")
    wrong = published_as(folder / "published.yaml", {}, distilled=0.9)
    small = overlay(folder / "small.yaml", smaller(world.made, "released", gate={"published": str(wrong), "enforce": True}))
    files = [ROOT / "config/released.yaml", small]
    made = one_process(folder, "results/released/mlflow.json", configs=files, environment=world.environment)
    assert made.code == 0, made.text[-6000:]
    return folder, snakemake(folder, "--cores", "2", configs=files, environment=world.environment)


@pytest.mark.slow
def test_a_figure_that_fails_stops_the_workflow_after_everything_is_written(released):
    folder, done = released
    results = folder / "results/released"
    assert done.code != 0
    assert "enforce_gate" in done.text
    for file in ("reproduction.tsv", "report.html", "mlflow.json", "metrics.tsv"):
        assert (results / file).exists(), done.text[-4000:]
    lines = verdicts(folder, "released")
    assert lines["distilled", "dev", "RR@10"].verdict == "FAIL"
    assert lines["distilled", "dev", "RR@10"].origin == "released"
    assert "FAIL" in (results / "report.html").read_text()
    stored = json.loads((results / "mlflow.json").read_text())
    assert stored["complete"]
    assert stored["stages"]["judge_reproduction"]
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder / 'results/mlflow.db'}")
    parent = client.get_run(stored["parent"]["run_id"])
    assert parent.data.metrics["reproduction/FAIL"] >= 1
    assert parent.data.tags["simlm.reproduction.dev.distilled.mrr_10"] == "FAIL"


@pytest.mark.slow
def test_right_figures_open_the_gate(snakemake, released, world):
    folder, _ = released
    published_as(folder / "published.yaml", table(folder, "released"))
    files = [ROOT / "config/released.yaml", folder / "small.yaml"]
    done = snakemake(folder, "--cores", "2", configs=files, seconds=300, environment=world.offline())
    assert done.code == 0, done.text[-4000:]
    assert not [job for job in done.jobs if job.startswith(("Embedding", "Reading", "Taking"))]
    lines = verdicts(folder, "released")
    assert {line.verdict for line in lines.values()} == {"OK"}
    # Three metrics on dev of five systems; one on each year of TREC DL of those that have them in print.
    assert len(lines) == 5 * 3 + 4 * 2


# ------------------------------------------------------------------------------------------------ one line, one passage

CHAIN = """
import os, sys
from simlm.cli import main
config = ["--config", *sys.argv[1:]]
steps = [["prepare-corpus"], ["index-bm25"], ["search-bm25"],
         *[[stage, "--model", "distilled"] for stage in ("import-model", "encode", "build-index", "search-index")],
         ["evaluate"], ["compare-systems"], ["judge-reproduction", "--gate"]]
for step in steps:
    code = main([step[0], *config, *step[1:]])
    if code:
        sys.exit(f"{step[0]}: exit code {code}")
"""


def flip_a_judgement(made: Collection) -> None:
    """The first judged query of dev gets another relevant passage."""
    query, passage, grade = made.qrels["dev"][0]
    made.qrels["dev"][0] = (query, str((int(passage) + 31) % PASSAGES), grade)


def flip_a_passage(made: Collection) -> None:
    """The passage that the first query of dev is about becomes another text."""
    made.passages[int(made.qrels["dev"][0][1])] = "an unrelated sentence"


@pytest.mark.slow
@pytest.mark.parametrize("change", [flip_a_judgement, flip_a_passage])
def test_one_changed_line_changes_the_verdict(change, released, world, tmp_path):
    """With the figures of the unchanged files in print, the same commands on the changed files are refused at the gate."""
    figures = table(released[0], "released")
    made = collection()
    change(made)
    home = made.write(tmp_path / "home")
    published = published_as(tmp_path / "published.yaml", figures)
    values = smaller(made, "released", gate={"published": str(published)}, results=str(tmp_path / "results"))
    values["evaluate"]["systems"] = ["bm25", "distilled"]
    small = overlay(tmp_path / "small.yaml", values)
    command = [sys.executable, "-c", CHAIN, str(ROOT / "config/released.yaml"), str(small)]
    done = subprocess.run(command, env={**world.offline(), "IR_DATASETS_HOME": str(home)}, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("judge-reproduction: exit code 1"), done.stderr[-3000:]
    before, after = figures["bm25", "dev", "RR@10"], table(tmp_path, "released")["bm25", "dev", "RR@10"]
    assert after != before
    assert verdicts(tmp_path, "released")["bm25", "dev", "RR@10"].verdict == "FAIL"


# ------------------------------------------------------------------------------------------------ counts and downloads


def simlm(environment: dict[str, str], *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "simlm.cli", *arguments], env=environment, capture_output=True, text=True, timeout=300, cwd=cwd)


@pytest.mark.slow
def test_a_collection_of_another_size_is_refused(world, tmp_path):
    """The shipped file as it is: sixty passages are not 8.8 million, seven queries not fifty-four."""
    values = yaml.safe_load((ROOT / "config/released.yaml").read_text())
    values["corpus"]["titles"] = "none"
    done = simlm(world.environment, "prepare-corpus", "--config", str(overlay(tmp_path / "released.yaml", values)), cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(r"the split \w+ has \d+ judged queries, but [\d,]+ are expected", done.stderr)
    assert len(done.stderr.strip().splitlines()[-1]) < 400
    assert not (tmp_path / "results/released/corpus").exists()


@pytest.mark.slow
def test_without_a_network_one_sentence_says_what_to_fetch_and_where_to_put_it(world, tmp_path):
    empty = {**world.offline(), "HF_HOME": str(tmp_path / "huggingface")}
    done = simlm(empty, "download", "--config", str(ROOT / "config/released.yaml"), cwd=tmp_path)
    assert done.returncode == 2
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("simlm download:")]
    assert "run `hf download intfloat/simlm-base-msmarco-finetuned` where there is a network" in sentence
    assert f"{tmp_path}/huggingface/hub/models--intfloat--simlm-base-msmarco-finetuned" in sentence
    shutil.rmtree(tmp_path / "huggingface", ignore_errors=True)
    no_data = {**world.offline(), "IR_DATASETS_HOME": str(tmp_path / "empty")}
    done = simlm(no_data, "prepare-corpus", "--config", str(ROOT / "config/released.yaml"), cwd=tmp_path)
    assert done.returncode == 2
    assert "needs https://" in done.stderr
    assert f"{tmp_path}/empty/downloads/" in done.stderr


# ------------------------------------------------------------------------------------------------ dry runs

BLOCKED = """
import socket
connect = socket.socket.connect
def refuse(self, address):
    if self.family != socket.AF_UNIX:
        raise RuntimeError(f"a dry run must not ask {address}")
    return connect(self, address)
socket.socket.connect = socket.socket.connect_ex = refuse
def no_names(*arguments, **options):
    raise RuntimeError(f"a dry run must not look up {arguments[0]}")
socket.getaddrinfo = no_names
"""


@pytest.mark.parametrize(("name", "count"), [("msmarco", 54), ("msmarco-budget", 54), ("released", 45)])
def test_dry_runs_are_complete_and_ask_no_one(snakemake, tmp_path, name, count):
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked/sitecustomize.py").write_text(BLOCKED)
    blocked = {**os.environ, "PYTHONPATH": str(tmp_path / "blocked")}
    plan = snakemake(tmp_path, "-n", "all", configs=[ROOT / f"config/{name}.yaml"], environment=blocked, own_process=True)
    assert plan.code == 0, plan.text[-3000:]
    assert "must not" not in plan.text
    assert len(plan.jobs) == count
    assert {"Fetching what is needed from elsewhere", "Comparing the figures with published ones", "Searching with BM25"} <= set(plan.jobs)
