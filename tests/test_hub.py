"""Fetching from a Hub on this machine: which files, once, going on where it broke off, pinned, and from the cache without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hub_server import Hub

# huggingface_hub reads its addresses and folders when it is imported, hence processes.
FETCH = """
import json, sys
from simlm.errors import UserError
from simlm.hub import fetch
try:
    folder = fetch(sys.argv[1], sys.argv[2])
    print(json.dumps([sorted(file.name for file in folder.iterdir()), folder.name]))
except UserError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def hub(tmp_path):
    folder = tmp_path / "hub/owner/safe"
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "vocab.txt", "model.safetensors", "pytorch_model.bin", "flax_model.msgpack"):
        (folder / name).write_bytes(name.encode() * 2000)
    (folder / "onnx").mkdir()
    (folder / "onnx/config.json").write_text("{}")
    pickled = tmp_path / "hub/owner/pickled"
    pickled.mkdir()
    for name in ("config.json", "vocab.txt", "pytorch_model.bin"):
        (pickled / name).write_bytes(name.encode() * 2000)
    data = tmp_path / "hub/datasets/owner/data"
    (data / "parts").mkdir(parents=True)
    for name in ("data.py", "README.md", "corpus.jsonl.gz", "parts/more.parquet"):
        (data / name).write_text("x")
    return Hub(tmp_path / "hub")


def fetch(tmp_path, address, reference, what="model"):
    settings = {"HF_HOME": str(tmp_path / "cache"), "HF_ENDPOINT": address, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    environment = {**{key: value for key, value in os.environ.items() if not key.startswith("HF_")}, **settings}
    done = subprocess.run([sys.executable, "-c", FETCH, reference, what], env=environment, capture_output=True, text=True, timeout=120)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def test_only_what_is_read_is_fetched_and_only_once(hub, tmp_path):
    with hub.serve() as address:
        files, commit = fetch(tmp_path, address, "owner/safe")
        assert files == ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"]
        assert commit == hub.commit(hub.root / "owner/safe")
        assert fetch(tmp_path, address, "owner/pickled")[0] == ["config.json", "pytorch_model.bin", "vocab.txt"]
        assert fetch(tmp_path, address, "owner/data", "dataset")[0] == ["corpus.jsonl.gz", "parts"]
        asked = len(hub.asked)
        assert fetch(tmp_path, address, "owner/safe")[0] == files
        assert len(hub.asked) == asked
    assert fetch(tmp_path, "http://127.0.0.1:9", "owner/safe") == [files, commit]


def test_a_pinned_revision_and_one_that_is_not_there(hub, tmp_path):
    commit = hub.commit(hub.root / "owner/safe")
    with hub.serve() as address:
        assert fetch(tmp_path, address, f"owner/safe@{commit}")[1] == commit
        sentence = fetch(tmp_path, address, "owner/sefe@v1")
    assert sentence.startswith("'owner/sefe@v1' could not be fetched from Hugging Face (RepositoryNotFoundError")
    assert "run `hf download owner/sefe --revision v1` where there is a network" in sentence
    assert f"copy the cache folder to {tmp_path}/cache/hub/models--owner--sefe" in sentence


def test_a_download_that_broke_off_goes_on(hub, tmp_path):
    """What had arrived, in whole blocks of 10 MB, is not asked for again."""
    weights = hub.root / "owner/safe/model.safetensors"
    weights.write_bytes(bytes(range(256)) * (24 << 12))
    hub.cut = "model.safetensors"
    with hub.serve() as address:
        assert fetch(tmp_path, address, "owner/safe")[0] == ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"]
    asked = [span for method, path, span in hub.asked if method == "GET" and path.endswith("model.safetensors")]
    assert asked == [None, f"bytes={10 << 20}-"]
    file = next((tmp_path / "cache/hub/models--owner--safe/snapshots").glob("*/model.safetensors"))
    assert file.read_bytes() == weights.read_bytes()


def test_a_tokenizer_alone_comes_without_weights(hub, tmp_path):
    with hub.serve() as address:
        assert fetch(tmp_path, address, "owner/safe", "tokenizer")[0] == ["config.json", "tokenizer.json", "vocab.txt"]
        # What is in the cache is not enough for a model: the weights are fetched as well.
        assert "model.safetensors" in fetch(tmp_path, address, "owner/safe")[0]


COMMANDS = """
import sys
from simlm.cli import main
for command in sys.argv[1:]:
    if code := main([*command.split(), "--config", "config.yaml"]):
        sys.exit(code)
"""


def test_what_was_made_of_a_branch_that_has_moved_is_refused_and_made_again(hub, tmp_path):
    """Another experiment's download may move the branch in the cache that both share."""
    from small_vocabulary import word_tokenizer

    (tmp_path / "data/qrels").mkdir(parents=True)
    (tmp_path / "data/corpus.jsonl").write_text("".join(json.dumps({"_id": f"p{i}", "title": "", "text": "sort a list"}) + "\n" for i in range(8)))
    (tmp_path / "data/queries.jsonl").write_text(json.dumps({"_id": "q", "text": "sort"}) + "\n")
    (tmp_path / "data/qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq\tp1\t1\n")
    words = hub.root / "owner/words"
    word_tokenizer().save_pretrained(words)
    values = {"name": "moved", "corpus": {"source": "beir", "path": "data", "splits": {"test": "test"}}, "tokenizer": {"init": "owner/words"}}
    size = {"layers": 1, "hidden": 16, "heads": 2, "intermediate": 16, "positions": 32}
    values["models"] = {"base": {"kind": "mlm", "size": size, "max_length": 16, "steps": 1, "batch_size": 4}}
    values["evaluate"] = {"systems": ["bm25"], "splits": {"test": {}}, "main_split": "test", "main_metric": "RR@10", "metrics": ["RR@10"], "depth": 5}
    (tmp_path / "config.yaml").write_text(json.dumps(values))
    record = tmp_path / "results/moved/stages/train_tokenizer.json"

    with hub.serve() as address:
        settings = {"HF_HOME": str(tmp_path / "cache"), "HF_ENDPOINT": address, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
        environment = {**{key: value for key, value in os.environ.items() if not key.startswith("HF_")}, **settings}

        def run(*commands: str) -> tuple[int, str]:
            call = [sys.executable, "-c", COMMANDS, *commands]
            done = subprocess.run(call, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
            return done.returncode, done.stderr

        code, said = run("prepare-corpus", "train-tokenizer")
        assert code == 0, said
        before = json.loads(record.read_text())
        assert "init/tokenizer.json" in before["inputs"]
        code, said = run("train-tokenizer", "index-bm25")
        assert code == 0, said
        content = (words / "tokenizer.json").read_text()
        assert '"sort"' in content
        (words / "tokenizer.json").write_text(content.replace('"sort"', '"sorts"'))
        code, said = run("download", "train --model base")
        assert code == 2
        assert "train_tokenizer (inputs: init/tokenizer.json)" in said
        assert run("train-tokenizer")[0] == 0
    after = json.loads(record.read_text())
    assert after["key"] != before["key"]
    assert '"sorts"' in (tmp_path / "results/moved/tokenizer/tokenizer.json").read_text()
