"""A password given by the environment is in no file that a whole workflow leaves: results, Snakemake's own, logs, benchmarks, MLflow."""

from __future__ import annotations

import json
import os

import pytest
import yaml

PASSWORD = "hunter2-p4ss"


def configuration(folder, **over):
    """BM25 alone over twelve passages, in a folder of its own."""
    data = folder / "data"
    (data / "qrels").mkdir(parents=True)
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"]
    passages = [{"_id": f"p{i}", "title": "", "text": f"about {word} and {word}s"} for i, word in enumerate(words)]
    (data / "corpus.jsonl").write_text("".join(json.dumps(passage) + "\n" for passage in passages))
    (data / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q{i}", "text": word}) + "\n" for i, word in enumerate(words)))
    for split in ("train", "test"):
        (data / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\tp{i}\t1\n" for i in range(12)))
    values = {
        "name": "run", "results": "results", "corpus": {"source": "beir", "path": "data", "splits": {"train": "train", "test": "test"}},
        "tokenizer": {"vocabulary": 256}, "bm25": {"analyzers": ["words"]},
        "models": {"base": {"kind": "mlm", "size": {"layers": 1, "hidden": 16, "heads": 2, "intermediate": 32, "positions": 160}, "steps": 2, "batch_size": 4}},
        "evaluate": {"systems": ["bm25"], "splits": {"test": {}}, "main_split": "test", "metrics": ["RR@10"], "depth": 10}, **over,
    }  # fmt: skip
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def everything_below(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_a_password_in_the_configuration_is_refused_before_anything_is_written(tmp_path, snakemake):
    file = configuration(tmp_path, tracking={"uri": f"http://me:{PASSWORD}@mlflow.example"})
    done = snakemake(tmp_path, "--cores", "1", configs=[file])
    assert done.code != 0
    assert "tracking.uri: this holds a password" in done.text
    assert PASSWORD not in done.text
    assert [name for name, content in everything_below(tmp_path).items() if PASSWORD.encode() in content] == ["config.yaml"]


@pytest.mark.slow
def test_a_password_of_the_environment_is_left_nowhere(tmp_path, snakemake):
    file = configuration(tmp_path, tracking={"live": True})
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"http://me:{PASSWORD}@127.0.0.1:9", "HF_TOKEN": "hf_" + "aB3" * 11}
    done = snakemake(tmp_path, "--cores", "1", configs=[file], seconds=300, environment=environment)
    assert done.code == 0, done.text
    left = everything_below(tmp_path)
    assert any(name.startswith(".snakemake/metadata") for name in left)
    assert {"results/run/report.html", "results/run/config.yaml", "results/run/mlflow.json"} <= set(left)
    for secret in (PASSWORD, "aB3aB3"):
        assert [name for name, content in left.items() if secret.encode() in content] == []
        assert secret not in done.text
