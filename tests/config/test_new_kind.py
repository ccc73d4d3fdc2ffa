"""A new kind is a file of its own: kinds that only ``dummy_kinds.py`` knows go through every command, and no other file names a kind."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
import yaml

from simlm.config.kinds import KINDS, name_of
from simlm.config.kinds.bm25 import LEXICAL

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
TRAINED = {"steps": 4, "batch_size": 8, "learning_rate": 1e-3, "threads": 1}

GRAPH = {
    "language": {"kind": "dummy_pretrained", "init": "base", **TRAINED},
    "finder": {"kind": "dummy_retriever", "init": "language", "negatives": LEXICAL, **TRAINED},
    "sorter": {"kind": "dummy_reranker", "init": "finder", "rerank": "finder", **TRAINED},
    "merged": {"kind": "dummy_fusion", "of": ["finder", "sorter", LEXICAL]},
    "joint": {"kind": "dummy_joint", "init": "language", "rerank": "finder", **TRAINED},
    "later": {"kind": "dummy_retriever", "init": "joint.retriever", "negatives": "joint.retriever", **TRAINED},
    "all": {"kind": "dummy_fusion", "of": ["joint.retriever", "joint.reranker"]},
}
SYSTEMS = [LEXICAL, "finder", "sorter", "merged", "joint.retriever", "joint.reranker", "later", "all"]


def values(results: Path) -> dict:
    """The graph above on the corpus of ``made_results``, which starts from a kind that ships."""
    return {
        "name": "made",
        "results": str(results),
        "precision": "fp32",
        "corpus": {"source": "beir", "path": "data/made", "splits": {"train": "train", "dev": "dev", "test": "test"}},
        "encoding": {"shards": 2, "batch_size": 16, "threads": 1},
        "negatives": {"depth": 20, "sample": 5, "pad_to": 6},
        "models": {"base": {"kind": "mlm", "size": {}, **TRAINED}, **GRAPH},
        "evaluate": {"systems": SYSTEMS, "splits": {"dev": {}, "test": {}}, "main_split": "test", "depth": 20},
    }


def write_beir(folder: Path) -> None:
    """A corpus that the configuration may name."""
    (folder / "qrels").mkdir(parents=True)
    passages = [{"_id": f"p{i}", "title": "", "text": f"Passage {i} tells about thing {i}."} for i in range(60)]
    queries = [(split, f"{split}-{i}", i) for split, count in (("train", 30), ("dev", 10), ("test", 20)) for i in range(count)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(passage) + "\n" for passage in passages))
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": name, "text": f"find thing {i}"}) + "\n" for _, name, i in queries))
    for split in ("train", "dev", "test"):
        lines = [f"{name}\tp{i}\t1" for one, name, i in queries if one == split]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")


@pytest.fixture
def run(tmp_path):
    """Run Python in a process that knows the new kinds, in a folder with their configuration."""
    write_beir(tmp_path / "data" / "made")
    file = tmp_path / "new.yaml"
    file.write_text(yaml.safe_dump(values(tmp_path / "results"), sort_keys=False))
    paths = [str(ROOT), str(TESTS / "config"), str(TESTS)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "OMP_"))}
    environment |= {"SIMLM_KINDS": "dummy_kinds", "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}

    def call(*arguments: str, fails: bool = False) -> str:
        done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    return call


def simlm(command: str, *options: str) -> list[str]:
    return ["-m", "simlm.cli", command, "--config", "new.yaml", *options]


def one_after_the_other(*commands: list[str]) -> list[str]:
    """Several commands of :func:`simlm` in one process, which imports torch once."""
    program = "import json, sys\nfrom simlm.cli import main\nfor words in json.loads(sys.argv[1]): assert main(words) == 0, words"
    return ["-c", program, json.dumps([command[2:] for command in commands])]


def test_check_shows_new_kinds_and_parts_in_the_graph(run):
    text = run(*simlm("check"))
    for line in (
        r"finder +dummy_retriever +init language, negatives bm25",
        r"joint\.reranker +dummy_joint\.reranker +part of joint, rerank finder",
        r"later +dummy_retriever +init joint\.retriever, negatives joint\.retriever",
        r"all +dummy_fusion +of joint\.retriever, of joint\.reranker",
    ):
        assert re.search(line, text), text
    names = [line.split()[0] for line in text.splitlines() if line.startswith("  ")]
    assert names.index("joint") < names.index("joint.retriever") < names.index("later")
    drawing = run(*simlm("check", "--mermaid"))
    assert 'joint_part_retriever("joint.retriever")' in drawing
    assert "joint -->|part| joint_part_reranker" in drawing


@pytest.mark.slow
def test_plan_has_a_line_for_every_job_of_a_new_kind(run):
    text = run(*simlm("plan", "--counts", "passages=60", "train=30", "dev=10", "test=20"))
    parts = ("encode.joint.retriever", "search_index.joint.retriever", "rerank.joint.reranker")
    for stage in ("train.language", "train.joint", *parts, "fuse.merged", "rerank.sorter"):
        assert stage in text, text
    assert "train.joint.retriever" not in text


@pytest.mark.slow
def test_the_workflow_plans_one_job_for_all_parts_of_a_model(run, tmp_path):
    snakefile = str(ROOT / "workflow" / "Snakefile")
    planned = ["-m", "snakemake", "--snakefile", snakefile, "--cores", "2", "--configfile", "new.yaml"]
    assert len(re.findall(r"^Job \d+: Training joint$", run(*planned, "-n"), re.MULTILINE)) == 1
    lines = [line.split("\t") for line in run(*planned, "--summary").splitlines() if "\t" in line]
    rules = {line[0].partition("results/made/")[2]: line[lines[0].index("rule")] for line in lines[1:]}
    parts = ("models/joint.retriever/simlm.json", "models/joint.reranker/simlm.json", "stages/train.joint.json")
    assert len({rules[file] for file in parts}) == 1
    for path in ("runs/joint.reranker/test.trec", "index/joint.retriever/manifest.json", "negatives/joint.retriever.parquet", "runs/all/test.trec"):
        assert path in rules


REPORT = """
import json, threading, urllib.request
from pathlib import Path
from made_results import MadeResults
import test_new_kind
from simlm.interactive.server import make_server
from simlm.models.card import card_text
from simlm.report.page import write_report

values = test_new_kind.values(Path("results"))
made = MadeResults(Path("results"), **{key: value for key, value in values.items() if key not in ("name", "results")})
page = write_report(made.context).read_text()
cards = {name: card_text(made.context, name, {}) for name, system in made.experiment.systems.items() if system.format}
server = make_server(made.context, 0)
threading.Thread(target=server.serve_forever, daemon=True).start()
search = urllib.request.urlopen(server.url).read().decode()
server.shutdown()
Path("pages.json").write_text(json.dumps({"report": page, "cards": cards, "search": search, "left": server.sides[0]}))
"""


@pytest.mark.slow
def test_card_report_and_search_page_describe_new_kinds_in_their_own_words(run, tmp_path):
    run("-c", REPORT)
    pages = json.loads((tmp_path / "pages.json").read_text())
    for noun in ("dummy pre-training", "dummy retriever", "dummy re-ranker", "dummy fusion", "joint training", "joint retriever", "joint re-ranker"):
        assert f">{noun}</text>" in pages["report"]
    assert "dummy fusion with sorter and bm25" in pages["report"]
    assert "library_name: sentence-transformers" in pages["cards"]["joint.retriever"]
    assert "pipeline_tag: text-ranking" in pages["cards"]["joint.reranker"]
    assert "Model `joint` of the experiment" in pages["cards"]["joint.reranker"]
    for system in SYSTEMS:
        assert re.search(rf"<option[^>]*>{re.escape(system)}</option>", pages["search"])
    figures = pandas.read_csv(tmp_path / "results" / "made" / "metrics.tsv", sep="\t").query("split == 'test' and metric == 'RR@10'")
    assert pages["left"] == figures.sort_values("value", ascending=False, kind="stable").system.iloc[0]


STAGES = """
from pathlib import Path
import yaml
from made_results import MadeResults
import test_new_kind
values = test_new_kind.values(Path("results"))
made = MadeResults(Path("results"), **{key: value for key, value in values.items() if key not in ("name", "results")})
"""


@pytest.mark.slow
def test_the_parts_of_a_model_are_made_by_one_stage_and_load_by_themselves(run, tmp_path):
    run("-c", STAGES)
    made = tmp_path / "results" / "made"
    (made / "stages" / "train.joint.json").unlink()
    for name in ("base", "language"):
        (made / "models" / name).mkdir(parents=True, exist_ok=True)
        (made / "models" / name / "simlm.json").write_text("{}")
    run(*simlm("train", "--model", "joint"))
    record = json.loads((made / "stages" / "train.joint.json").read_text())
    parts = ("retriever", "reranker")
    assert {name for name in record["outputs"] if name.endswith("/weights")} == {f"joint.{part}/weights" for part in parts}
    assert {name for name in record["outputs"] if name.endswith("/simlm.json")} == {f"models/joint.{part}/simlm.json" for part in parts}
    for part, architecture in (("retriever", "BertModel"), ("reranker", "BertForSequenceClassification")):
        folder = made / "models" / f"joint.{part}"
        assert json.loads((folder / "config.json").read_text())["architectures"] == [architecture]
        assert f"# joint.{part} (made)" in (folder / "README.md").read_text()
    assert not (made / "models" / "joint").exists()
    shards = [simlm("encode", "--model", "joint.retriever", "--shard", shard, "--shards", "2") for shard in "12"]
    searched = [simlm("build-index", "--model", "joint.retriever", "--shards", "2"), simlm("search-index", "--model", "joint.retriever")]
    run(*one_after_the_other(*shards, *searched, simlm("rerank", "--model", "joint.reranker")))
    lines = {system: (made / "runs" / system / "test.trec").read_text().splitlines() for system in ("joint.retriever", "joint.reranker")}
    assert {len({line.split()[0] for line in found}) for found in lines.values()} == {20}
    # What it says of its progress comes after the answer.
    answer, _ = json.JSONDecoder().raw_decode(run(*simlm("search", "--system", "joint.retriever", "--json", "-k", "3", "find thing 4")))
    assert (answer["kind"], len(answer["hits"])) == ("dummy_joint.retriever", 3)


@pytest.mark.parametrize(
    ("system", "sentence"),
    [
        ("language", "'language' is of kind dummy_pretrained, which does not retrieve; choose of bm25, finder"),
        ("base", "'base' is of kind mlm, which does not retrieve"),
        ("joint", "'joint' is of kind dummy_joint, which does not retrieve"),
        ("joint.generator", "no model is called 'joint.generator'"),
    ],
)
def test_what_does_not_retrieve_is_refused_in_one_sentence(run, tmp_path, system, sentence):
    wrong = values(tmp_path / "results")
    wrong["evaluate"]["systems"] = [LEXICAL, system]
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(wrong, sort_keys=False))
    error = run(*simlm("check"), fails=True)
    assert sentence in error
    assert "evaluate.systems.1" in error
    assert error.count("\n") == 1


PROPOSED = {"bm25", "biencoder", "bottleneck", "crossencoder", "fusion", "given_biencoder", "mlm"}
ALLOWED: dict[str, set[str]] = {
    "simlm/paths.py": {LEXICAL},  # a folder of the results
    "simlm/config/inputs.py": {LEXICAL},  # an input, in records
    # What `simlm new` writes: a configuration names the kinds that it proposes, as one written by hand does.
    "simlm/proposal/choices.py": PROPOSED,
    "simlm/proposal/write.py": PROPOSED,
}
"""Files that may hold the name of a kind as a string, and which."""


def names_in(file: Path, names: set[str]) -> set[str]:
    """Names that stand as strings in a file's code: docstrings and doctests do not count, nor parts of longer strings."""
    if file.suffix != ".py":
        return {name for name in names if re.search(rf"""['"]{name}['"]""", file.read_text(encoding="utf-8"))}
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)} & names


def test_no_file_names_a_kind_but_its_own(tmp_path):
    names = {LEXICAL, *(str(name_of(kind)) for kind in KINDS)}
    classes = {kind.__name__ for kind in KINDS}
    files = [*(ROOT / "simlm").rglob("*.py"), *(ROOT / "workflow").rglob("*.smk"), ROOT / "workflow" / "Snakefile"]
    others = [file for file in files if "kinds" not in file.relative_to(ROOT).parts]
    found = {str(file.relative_to(ROOT)): names_in(file, names) for file in others}
    assert {file: there for file, there in found.items() if there - ALLOWED.get(file, set())} == {}
    asked = re.compile(rf"isinstance\([^)]*\b({'|'.join(classes)})\b|(?<!stage)\.kind (?:==|!=) ")
    own = {kind.__name__: str(kind.trainer).split(":")[0].replace(".", "/") + ".py" for kind in KINDS}  # a trainer may ask which of its own kinds it has
    asks = {str(file.relative_to(ROOT)): set(asked.findall(file.read_text(encoding="utf-8"))) for file in others}
    assert {file: hits for file, hits in asks.items() if {hit for hit in hits if own.get(hit) != file} and file not in ALLOWED} == {}
    planted = tmp_path / "planted.py"
    planted.write_text('if block.kind == "biencoder":\n    pass\n')
    assert names_in(planted, names) == {"biencoder"}
