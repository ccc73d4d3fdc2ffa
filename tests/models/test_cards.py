"""The card of a model: what the Hub reads of it, its results beside the baseline's, an answer as it was found."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from made_results import MadeResults, made_configuration
from safetensors.numpy import save_file

from simlm.evaluation.numbers import figure
from simlm.files import write_json
from simlm.models.card import card_text

ROWS = ("test", "dev")


@pytest.fixture
def card(made):
    folder = made.paths.model("distilled")
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"a": np.zeros((4, 8), np.float32)}, folder / "model.safetensors")
    write_json(folder / "config.json", {"hidden_size": 8, "num_hidden_layers": 1})
    return card_text(made.context, "distilled", {"query": 8, "passage": 16})


def test_the_hub_reads_the_results_of_the_table(made, card):
    data = ModelCard(card).data
    lines = [line.split("\t") for line in made.paths.metrics_table.read_text().splitlines()[1:]]
    expected = {(split, metric): f"{float(value):.4f}" for system, split, metric, value, *_ in lines if system == "distilled"}
    names = {"RR@10": "mrr_at_10", "AP": "map", "R@50": "r_at_50", "R@1000": "r_at_1000", "nDCG@10": "ndcg_at_10"}
    found = {(result.dataset_split, result.metric_type): f"{result.metric_value:.4f}" for result in data.eval_results}
    assert found == {(split, names[metric]): value for (split, metric), value in expected.items()}
    assert data.license == "apache-2.0"
    assert data.base_model is None
    assert data.model_name == "distilled (made)"


def test_the_table_has_the_baselines_row_and_intervals(made, card):
    table = [line for line in card.split("## Results")[1].split("##")[0].splitlines() if line.startswith("| ")]
    assert table[0] == "| split | system | MRR@10 | R@50 | R@1000 | nDCG@10 | MAP |"
    rows = {(split, system): cells for _, split, system, *cells, _ in (map(str.strip, line.split("|")) for line in table[1:])}
    assert list(rows) == [("dev", "distilled"), ("dev", "bm25"), ("test", "distilled"), ("test", "bm25")]
    for line in made.paths.metrics_table.read_text().splitlines()[1:]:
        system, split, metric, value, low, high, _ = line.split("\t")
        if metric == "AP" and (split, system) in rows:
            assert rows[split, system][-1] == f"{figure(float(value))} [{figure(float(low), 3)}, {figure(float(high), 3)}]"


def test_sizes_and_an_answer_as_the_run_has_it(made, card):
    assert "32 parameters; a text becomes a vector of 8 numbers." in card
    answer = card.split("## A query and its answer")[1].split("````")[1].splitlines()
    ranking = [line.split() for line in made.paths.run("distilled", "test").read_text().splitlines()[:3]]
    assert len([line for line in answer if line[:1].isdigit()]) == 3
    for line, (_, _, passage, rank, score, _) in zip([line for line in answer if line[:1].isdigit()], ranking):
        assert line.startswith(f"{rank}  {float(score):.4f}")
        assert ("(judged relevant)" in line) == (passage == made.ids[0])
    assert "@inproceedings{wang-etal-2023-simlm" in card


def test_weights_from_elsewhere_keep_their_licence_and_name(tmp_path):
    values = made_configuration(tmp_path / "results")
    values["models"]["base"] = {"kind": "mlm", "init": "google-bert/bert-base-uncased", "steps": 1}
    values["models"].pop("generator")
    values["models"]["simlm"] = {"kind": "mlm", "init": "base", "steps": 1}
    made = MadeResults(tmp_path / "results", models=values["models"], bm25={"analyzers": ["german"]})
    made.paths.metrics_table.unlink()
    text = card_text(made.context, "retriever1", {})
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["base_model"] == "google-bert/bert-base-uncased"
    assert (head["license"], head["license_name"]) == ("other", "that of google-bert/bert-base-uncased")
    assert head["language"] == "de"
    assert "model-index" not in head


def test_hostile_texts_stay_inside_their_block(made):
    text = card_text(made.context, "fusion" if made.experiment.system("fusion").format else "retriever1", {})
    block = text.split("## A query and its answer")[1].split("## Citation")[0]
    assert block.count("````") == 2
