"""From a folder of files and a finished retriever to judged systems: what ``simlm new`` writes, run as it stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simlm.cli import main
from simlm.corpus.store import CorpusStore
from simlm.runs.negatives import read_negatives
from tests.models.published_retrievers import describe
from tests.proposal.test_new import folder_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(one_process, tmp_path_factory) -> Path:
    from small_vocabulary import word_tokenizer
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("new")
    folder_of(folder / "data" / "mine", grades=2)
    tokenizer = word_tokenizer()
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64}
    BertModel(BertConfig(vocab_size=len(tokenizer), **size), add_pooling_layer=False).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    describe(folder / "base", {"pooling_mode_mean_tokens": True}, longest=48)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["new", "data/mine", "--base", "./base", "--budget", "3m", "--cores", "2"]) == 0
    done = one_process(folder, configs=[folder / "mine.yaml"])
    assert done.code == 0, done.text[-5000:]
    return folder / "results" / "mine"


def test_the_untouched_start_is_judged_beside_what_was_made_of_it(results):
    rows = [line.split("\t") for line in (results / "metrics.tsv").read_text().splitlines()[1:]]
    systems = list(dict.fromkeys(row[0] for row in rows))
    assert systems[:4] == ["bm25", "base", "candidates", "retriever"]
    assert systems[-1] == "fusion"
    pairs = [tuple(line.split("\t")[:2]) for line in (results / "evaluation" / "comparisons.tsv").read_text().splitlines()[1:]]
    assert ("retriever", "base") in pairs
    assert not (results / "tokenizer").exists()


def test_what_was_trained_reads_as_its_start_does(results):
    said = {name: json.loads((results / "models" / name / "simlm.json").read_text()) for name in ("base", "retriever")}
    assert said["base"]["pooling"] == said["retriever"]["pooling"] == "mean"
    assert said["base"]["title"] == said["retriever"]["title"] == "joined"


def test_choices_were_made_on_training_queries_alone(results):
    record = json.loads((results / "stages" / "train.retriever.json").read_text())
    assert "kept_step" in record["metrics"]
    chosen = json.loads((results / "stages" / "fuse.fusion.json").read_text())["metrics"]
    weights = [value for name, value in chosen.items() if name.startswith("weight/")]
    assert sum(weights) == pytest.approx(1)
    mined = json.loads((results / "stages" / "mine_negatives.candidates.json").read_text())
    assert mined["metrics"]["compared"] > 0
    assert "false negatives" in mined["notes"]
    store = CorpusStore(results / "corpus")
    assert all(not set(query.positives.tolist()) & set(query.negatives.tolist()) for query in read_negatives(results / "negatives" / "candidates.parquet"))
    assert len(store) == 300
