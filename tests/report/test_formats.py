"""The one table as Markdown, LaTeX and CSV, and what its systems cost."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from simlm.cli import main
from simlm.evaluation.numbers import figure
from simlm.files import write_json
from simlm.records.stages import read_stages
from simlm.report.costs import WATTS_PER_CORE, costs
from simlm.report.page import write_report


@pytest.fixture
def costly(made):
    """Results in which costs can be counted by hand: two weights, an index, searches."""
    for name, size in (("distilled", 12), ("reranker", 7)):
        made.paths.model(name).mkdir(parents=True, exist_ok=True)
        save_file({"a": np.zeros((size, 10), np.float32), "b": np.zeros(3, np.float32)}, made.paths.model(name) / "model.safetensors")
        made.stage(f"train.{name}")
    save_file({"decoder": np.zeros(999, np.float32)}, made.paths.model("distilled") / "bottleneck.safetensors")
    write_json(made.paths.bm25 / "manifest.json", {"terms": 3})
    write_json(made.paths.index("distilled") / "manifest.json", {"file": {"bytes": 60 * 40 + 45}})
    for stage, metrics in (
        ("search_bm25", {"queries/dev": 10, "queries/test": 20, "passages/dev": 5}),
        ("search_bm25.train", {"queries/train": 30}),
        ("search_index.distilled", {"queries/test": 20}),
        ("build_index.distilled", {"dimension": 10, "vectors": 60}),
        ("fuse.fusion", {"queries/test": 20}),
    ):
        made.stage(stage, metrics=metrics)
    for shard, speed in (("1-of-2", 200.0), ("2-of-2", 100.0)):
        made.stage(f"encode.distilled.{shard}", metrics={"passages_per_second": speed})
    return made


def test_costs_are_those_of_all_that_answers(costly):
    stages = read_stages(costly.experiment, costly.paths)
    seconds = {stage.name: stage.seconds for stage in stages}
    found = costs(costly.context, stages)
    assert found["distilled"].parameters == found["fusion"].parameters == 123, "the decoder of the pre-training answers nothing"
    assert (found["distilled"].dimension, found["distilled"].vector_bytes) == (10, (60 * 40 + 45) / 60)
    bm25 = sum(file.stat().st_size for file in costly.paths.bm25.iterdir())
    assert found["bm25"].index_bytes == bm25
    assert found["fusion"].index_bytes == bm25 + 60 * 40 + 45
    lexical, dense = 1000 * (seconds["search_bm25"] + seconds["search_bm25.train"]) / 60, 1000 * seconds["search_index.distilled"] / 20 + 10
    assert found["bm25"].milliseconds == pytest.approx(lexical)
    assert found["distilled"].milliseconds == pytest.approx(dense)
    assert found["fusion"].milliseconds == pytest.approx(lexical + dense + 1000 * seconds["fuse.fusion"] / 20)
    chain = ["base", "generator", "simlm", "retriever1", "retriever2", "reranker", "distilled"]
    assert found["distilled"].training_seconds == pytest.approx(sum(seconds[f"train.{name}"] for name in chain)), "not the control's"
    assert found["distilled"].watt_hours == pytest.approx(len(chain) * 20.0 * WATTS_PER_CORE / 3600), "20 s of processor time each"
    assert found["bm25"].training_seconds is None
    assert found["control"].parameters is None


def test_accelerators_count_with_their_power(costly):
    file = costly.paths.record("train.base")
    record = json.loads(file.read_text())
    record["hardware"] |= {"gpu": "NVIDIA H100 80GB HBM3", "gpus": 2}
    file.write_text(json.dumps(record))
    before = costs(costly.context, [stage for stage in read_stages(costly.experiment, costly.paths) if stage.name != "train.generator"])["control"]
    seconds = next(stage.seconds for stage in read_stages(costly.experiment, costly.paths) if stage.name == "train.base")
    assert before.watt_hours == pytest.approx((2 * 20.0 * WATTS_PER_CORE + seconds * 2 * 700) / 3600)


def test_all_forms_have_the_figures_of_the_files(costly, capsys):
    write_report(costly.context)
    rows = {tuple(line.split("\t")[:3]): line.split("\t")[3:] for line in costly.paths.metrics_table.read_text().splitlines()[1:]}
    printed = {}
    for form in ("md", "tex", "csv"):
        assert main(["summary", "--experiment", "made", "--results", str(costly.paths.root.parent), "--format", form]) == 0
        printed[form] = capsys.readouterr().out
        assert printed[form] == (costly.paths.root / f"results.{form}").read_text()
    page = costly.paths.report.read_text()
    for (_, _, _), (value, *_) in rows.items():
        assert all(figure(float(value)) in text for text in (page, printed["md"], printed["tex"]))
    lines = list(csv.DictReader(printed["csv"].splitlines()))
    assert [(line["split"], line["system"]) for line in lines[:7]] == [("test", name) for name in costly.experiment.evaluate.systems]
    for line in lines:
        for metric, name in (("RR@10", "MRR@10"), ("AP", "MAP")):
            value, low, high, _ = rows[line["system"], line["split"], metric]
            assert [line[name], line[f"{name} low"], line[f"{name} high"]] == [f"{float(text):.6f}" for text in (value, low, high)]
    reranker = next(line for line in lines if (line["system"], line["split"]) == ("reranker", "test"))
    assert (reranker["MRR@10 better than"], reranker["MRR@10 worse than"]) == ("ad", "")
    assert "distilled & " in printed["tex"]
    assert "$^{ad}$" in printed["tex"]
    assert len(re.findall(r"(?<!\\)&", printed["tex"].splitlines()[5])) == 12, "two names, five metrics, six costs"


def test_names_are_safe_in_latex(tmp_path):
    from made_results import MadeResults

    models = {"my_model": {"kind": "biencoder", "init": "base", "steps": 1}, "base": {"kind": "mlm", "size": {}, "steps": 1}}
    made = MadeResults(tmp_path / "results", models=models, evaluate={"systems": ["bm25", "my_model"], "splits": {"test": {}}, "main_split": "test"})
    write_report(made.context)
    text = (made.paths.root / "results.tex").read_text()
    assert "my\\_model & " in text
    assert not re.search(r"(?<!\\)[_#](?!\{)", re.sub(r"^%.*$", "", text, flags=re.MULTILINE))
