"""The gate: verdicts by hand-computed differences, and cells that must not be judged."""

from __future__ import annotations

import dataclasses

import pytest
import yaml

from simlm.config import validate
from simlm.config.kinds import BiEncoder
from simlm.config.published import FILE, counterparts, load_published, origin_of, titles_of
from simlm.errors import UserError
from simlm.evaluation import gate
from simlm.evaluation.compare import MetricRow, read_rows
from simlm.stages import judge_reproduction

SPLITS = {"train": "msmarco-passage/train/judged", "dev": "msmarco-passage/dev/small", "dl19": "msmarco-passage/trec-dl-2019/judged"}
TRAINED = {"kind": "biencoder", "init": "a/b", "steps": 1, "negatives": "bm25"}
GIVEN = {"kind": "given_biencoder", "init": "a/b"}


def experiment(distilled=TRAINED, bm25=None, gate=None, **corpus):
    return validate(
        {
            "name": "m",
            "corpus": {"source": "ir_datasets", "passages": "msmarco-passage", "splits": SPLITS, "titles": "rocketqa", **corpus},
            "bm25": bm25 or {"titles": False},
            "models": {"distilled": distilled, "mine": TRAINED},
            "evaluate": {"systems": ["bm25", "distilled", "mine"], "splits": {"dev": {}, "dl19": {"relevance": 2}}, "main_split": "dev"},
            "gate": gate or {},
        }
    )


def manifest(passages=8_841_823, titled=8_000_000):
    return {"passages": {"count": passages, "with_title": titled}}


def row(system, split, metric, value, queries=None):
    return MetricRow(system, split, metric, value, value, value, queries or {"dev": 6980, "dl19": 43}[split])


def verdict(experiment, one, facts=None):
    (line,) = gate.verdicts(experiment, [one], facts or manifest())
    return line


@pytest.mark.parametrize(
    ("value", "given", "word"),
    [
        (0.4110, False, "OK"),
        (0.4070, False, "OK"),  # 0.004 below: the tolerance itself
        (0.4069, False, "OKish"),
        (0.4030, False, "OKish"),  # twice the tolerance
        (0.4029, False, "FAIL"),
        (0.4500, False, "OKish"),  # better than published
        (0.4100, True, "OK"),
        (0.4095, True, "OK"),
        (0.4090, True, "OKish"),
        (0.4070, True, "FAIL"),  # what a trained model may do, a released one may not
        (0.4500, True, "FAIL"),
    ],
)
def test_verdicts_around_the_printed_figure(value, given, word):
    line = verdict(experiment(GIVEN if given else TRAINED), row("distilled", "dev", "RR@10", value))
    assert (line.verdict, line.published, line.origin) == (word, 0.411, "released" if given else "trained")
    assert line.difference == pytest.approx(value - 0.411)
    assert line.reason == "-"


def test_dl_has_its_own_tolerance():
    assert verdict(experiment(), row("distilled", "dl19", "nDCG@10", 0.700)).verdict == "OK"
    assert verdict(experiment(GIVEN), row("distilled", "dl19", "nDCG@10", 0.700)).verdict == "FAIL"


@pytest.mark.parametrize(
    ("over", "one", "facts", "reason"),
    [
        ({"titles": "none"}, row("distilled", "dev", "RR@10", 0.1), manifest(), "titles: none here, rocketqa published"),
        ({"bm25": {"titles": True}}, row("bm25", "dev", "RR@10", 0.1), manifest(), "titles: rocketqa here, none published"),
        ({}, row("distilled", "dev", "RR@10", 0.1), manifest(8_841_822), "the corpus has 8,841,822 passages, the published one 8,841,823"),
        ({"max_passages": 1000}, row("distilled", "dev", "RR@10", 0.1), manifest(1000), "the corpus has 1,000 passages, the published one 8,841,823"),
        ({"max_queries": {"dev": 500}}, row("distilled", "dev", "RR@10", 0.1, 500), manifest(), "500 queries, 6,980 published"),
        ({}, row("distilled", "dev", "RR@10", 0.1), manifest(titled=0), "no passage has a title"),
    ],
)
def test_what_differs_is_not_judged(over, one, facts, reason):
    bm25 = over.pop("bm25", None)
    line = verdict(experiment(bm25=bm25, **over), one, facts)
    assert (line.verdict, line.reason) == ("not comparable", reason)


def test_only_systems_with_a_counterpart_and_only_one_figure_for_each_cell():
    pairs = counterparts(experiment())
    cells = [(system, figure.split, figure.metric) for system, figure in pairs]
    assert len(cells) == len(set(cells))
    assert {system for system, _ in pairs} == {"bm25", "distilled"}
    assert next(figure for system, figure in pairs if system == "bm25" and figure.metric == "RR@10").value == 0.1874
    assert counterparts(experiment(passages="beir/nfcorpus", splits={"dev": "beir/nfcorpus/dev", "dl19": "beir/nfcorpus/test", "train": "x"})) == []


def test_titles_and_origin_of_systems():
    mixed = experiment(GIVEN)
    assert [origin_of(mixed, name) for name in ("bm25", "distilled", "mine")] == ["lexical", "released", "trained"]
    assert [titles_of(mixed, name) for name in ("bm25", "distilled")] == ["none", "rocketqa"]


def test_every_judged_figure_of_the_file_has_a_tolerance_for_its_origins():
    content = load_published()
    judged = [entry for entry in content["systems"] if entry.get("judges")]
    assert len(judged) >= 6
    for entry in judged:
        assert entry["counterpart"]
        for origin in entry["judges"]:
            for split, metrics in entry["metrics"].items():
                for metric in metrics:
                    assert 0 < content["tolerances"][origin][split][metric] < 0.05


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """A folder with a table and a manifest, and how to call the command on it."""
    import json

    from simlm.cli import main
    from simlm.evaluation.compare import write_rows

    values = {**experiment().model_dump(mode="json"), "results": str(tmp_path)}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(values))
    (tmp_path / "m/corpus").mkdir(parents=True)
    (tmp_path / "m/corpus/manifest.json").write_text(json.dumps(manifest()))

    def call(value, *options, command="judge-reproduction"):
        write_rows(tmp_path / "m/metrics.tsv", [row("distilled", "dev", "RR@10", value), row("mine", "dev", "RR@10", 0.2)], MetricRow)
        return main([command, "--config", str(config), *options])

    return tmp_path / "m", call


def test_the_command_writes_first_and_fails_last(judged, capsys):
    folder, call = judged
    assert call(0.1, "--gate") == 1
    assert [line.verdict for line in read_rows(folder / "reproduction.tsv", gate.Verdict)] == ["FAIL"]
    assert (folder / "stages/judge_reproduction.json").exists()
    assert "Against published figures: 1 FAIL." in capsys.readouterr().out
    assert call(0.1) == 0
    assert call(0.411, "--gate") == 0
    assert [line.verdict for line in read_rows(folder / "reproduction.tsv", gate.Verdict)] == ["OK"]


def test_the_gate_reads_the_verdicts_and_judges_nothing_anew(judged):
    folder, call = judged
    call(0.411)
    before = (folder / "reproduction.tsv").read_bytes()
    assert call(0.1, command="enforce-gate") == 0
    assert (folder / "reproduction.tsv").read_bytes() == before


def test_a_file_of_published_figures_that_is_not_one_is_refused(tmp_path):
    (tmp_path / "p.yaml").write_text("systems: []\n")
    with pytest.raises(UserError, match="lacks collection, sources, splits, tolerances"):
        counterparts(experiment(gate={"published": str(tmp_path / "p.yaml")}))
    content = yaml.safe_load(FILE.read_text())
    del content["tolerances"]["trained"]["dl19"]
    (tmp_path / "q.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=r"no number at tolerances\.trained\.dl19\.nDCG@10"):
        counterparts(experiment(gate={"published": str(tmp_path / "q.yaml")}))


def test_the_table_is_what_the_verdicts_say():
    line = verdict(experiment(), row("distilled", "dev", "RR@10", 0.4))
    assert dataclasses.asdict(line)["published_system"] == "SimLM distilled"
    assert "distilled" in gate.text_table([line])
    assert gate.summary([line, line]) == "2 FAIL"
    assert judge_reproduction.__doc__
    assert isinstance(experiment().models["distilled"], BiEncoder)
