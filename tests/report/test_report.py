import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_results import HOSTILE, MadeResults

from simlm.cli import main
from simlm.config.graph import counterparts
from simlm.errors import UserError
from simlm.evaluation import gate
from simlm.evaluation.compare import read_comparisons, read_metrics, write_rows
from simlm.records.stages import elsewhere, read_stages
from simlm.report.false_negatives import FalseNegatives, false_negatives
from simlm.report.page import write_report
from simlm.report.steps import steps
from simlm.report.tables import busy_seconds, duration, without_record


class Page(HTMLParser):
    """Counts elements, collects addresses and text, and checks that elements are closed in order."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, html):
        super().__init__()
        self.tags, self.ids, self.addresses, self.text, self.open = [], [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.addresses += [found[name] for name in ("src", "href", "xlink:href", "action") if found.get(name)]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Results with their report; tests that use it change nothing."""
    made = MadeResults(tmp_path_factory.mktemp("written") / "results")
    write_report(made.context)
    return made


@pytest.fixture
def page(written):
    return Page(written.paths.report.read_text(encoding="utf-8"))


def test_the_page_is_whole_and_loads_nothing(written, page):
    assert page.open == []
    assert "script" not in page.tags
    assert all(address.startswith("#") for address in page.addresses), "an offline page refers to itself alone"
    assert len(page.ids) == len(set(page.ids))
    assert {address[1:] for address in page.addresses} <= set(page.ids)
    html = written.paths.report.read_text(encoding="utf-8")
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_every_heading_of_a_table_says_something(written):
    assert not re.search(r"<th[^>]*>\s*</th>", written.paths.report.read_text(encoding="utf-8")), "what axe calls empty-table-header"


def test_texts_of_the_corpus_are_escaped(written, page):
    html = written.paths.report.read_text(encoding="utf-8")
    assert "<script" not in html
    assert html.count("</style>") == 1
    assert HOSTILE in "".join(page.text), "and yet they can be read"


def test_all_sections_say_what_the_files_say(written, page):
    text = " ".join("".join(page.text).split())
    for line in written.paths.metrics_table.read_text().splitlines()[1:]:
        assert f"{float(line.split(chr(9))[3]):.4f}" in text
    assert "far smaller than the paper's" in text
    assert "Losses and probe" in text
    assert "probe: MRR@10" in text
    assert "Where does it win?" in text
    assert "train.simlm" in text
    assert "11 queries won" in text
    assert written.experiment.corpus.path in text
    html = written.paths.report.read_text(encoding="utf-8")
    row = re.search(r'<span class="letter">e</span> reranker.*?</tr>', html, re.DOTALL)[0]
    assert '<span class="marks">&gt;ad</span>' in row, "significantly better than BM25 (a) and the list that it sorts (d)"
    assert "800 MiB" in text
    assert "train.simlm: 14,250 tokens/s (15,000 with padding, of which 5 %), waited for the host 12 % of the time; host binds" in text
    assert {"results", "steps", "metrics", "curves", "queries", "graph", "resources", "data", "repeat"} <= set(page.ids)


def test_the_report_is_the_same_every_time(made):
    first = write_report(made.context).read_bytes()
    made.stage("report")
    assert write_report(made.context).read_bytes() == first


def test_the_command_leaves_a_record_and_plots(made):
    assert main(["report", "--config", str(made.paths.config)]) == 0
    outputs = json.loads(made.paths.record("report").read_text())["outputs"]
    assert {made.paths.report, made.paths.pairs} <= {Path(about["path"]) for about in outputs.values()}, "what is mirrored is stated"
    plots = {file.name for file in (made.paths.root / "plots").iterdir()}
    assert {"MRR@10_on_test.svg", "loss__dense_retriever_.svg", "probe-MRR@10.svg"} <= plots


def test_cautions_of_the_stages_stand_in_the_report_and_the_summary(made, capsys):
    made.stage("train.control", notes={"cautions": ["control <b> ends inside its warm-up"]})
    write_report(made.context)
    text = " ".join(Page(made.paths.report.read_text(encoding="utf-8")).text)
    assert "control <b> ends inside its warm-up." in text
    assert main(["summary", "--experiment", "made", "--results", str(made.paths.root.parent)]) == 0
    assert "Caution: control <b> ends inside its warm-up." in capsys.readouterr().out.splitlines()


def test_without_metrics_the_next_command_is_named(made, capsys):
    made.paths.metrics_table.unlink()
    assert main(["report", "--config", str(made.paths.config)]) == 2
    assert "run simlm compare-systems --experiment made first" in capsys.readouterr().err
    assert not made.paths.report.exists()


def test_a_report_can_be_written_without_runs_curves_and_benchmarks(made):
    for pattern in ("runs/*/*", "training/*.jsonl", "benchmarks/*", "evaluation/*/*"):
        for file in made.paths.root.glob(pattern):
            file.unlink()
    html = write_report(made.context).read_text(encoding="utf-8")
    assert "The runs or the values per query are not there." in html
    assert "No training left a curve." in html


def test_a_truncated_table_leaves_the_old_report(made):
    before = write_report(made.context).read_bytes()
    made.paths.metrics_table.write_text(made.paths.metrics_table.read_text()[:100])
    with pytest.raises(UserError, match="truncated or foreign"):
        write_report(made.context)
    assert made.paths.report.read_bytes() == before


def test_a_single_untested_system_gives_a_page(tmp_path):
    values = {"systems": ["bm25"], "splits": {"test": {}}, "main_split": "test"}
    made = MadeResults(tmp_path / "results", evaluate=values)
    assert "Was each step better?" in write_report(made.context).read_text(encoding="utf-8")


def test_each_step_is_measured_against_what_it_builds_on(made):
    against = {name: counterparts(made.experiment, name) for name in made.experiment.evaluate.systems}
    assert against == {
        "bm25": [],
        "control": ["bm25"],
        "retriever1": ["control"],
        "retriever2": ["retriever1"],
        "reranker": ["retriever2"],
        "distilled": ["retriever2"],
        "fusion": ["distilled", "bm25"],
    }


def test_the_steps_are_those_of_the_table_with_what_changed(made):
    table = read_comparisons(made.paths.comparisons)
    found = {step.system: step for step in steps(made.experiment, table)}
    assert list(found) == made.experiment.evaluate.systems[1:]
    for step in found.values():
        pairs = [(row.system, row.against, row.split, row.metric) for row in table if row == step.comparison]
        assert pairs == [(step.system, step.against, "test", "RR@10")]
    assert found["control"].change == "a dense retriever instead of lexical search"
    assert found["retriever1"].change == "starts from simlm (SimLM pre-training) instead of base"
    assert found["reranker"].change == "its top 200 re-ranked by a cross-encoder"
    assert found["distilled"].change == "hard negatives from retriever2 instead of retriever1; distils reranker"
    assert found["fusion"].change == "reciprocal rank fusion with bm25"


def test_a_step_that_changed_several_settings_says_so(made):
    table = read_comparisons(made.paths.comparisons)
    changed = {"epochs": 2, "temperature": 0.05, "query_length": 16, "threads": 3}
    distilled = made.experiment.models["distilled"].model_copy(update=changed)
    experiment = made.experiment.model_copy(update={"models": {**made.experiment.models, "distilled": distilled}})
    step = next(step for step in steps(experiment, table) if step.system == "distilled")
    assert step.settings == ["epochs 1 → 2", "temperature 0.02 → 0.05", "query_length 32 → 16"], "threads change no result"
    assert step.comparison.p_holm < 0.05
    assert step.verdict == "better, by 5 changes together"
    alone = next(step for step in steps(made.experiment, table) if step.system == "fusion")
    assert alone.verdict == "better"


def test_published_figures_stand_beside_ours_on_ms_marco_alone(tmp_path, written):
    splits = {"train": "msmarco-passage/train/judged", "dev": "msmarco-passage/dev/small"}
    evaluate = {"systems": ["bm25", "retriever1", "distilled"], "splits": {"dev": {}}, "main_split": "dev"}
    corpus = {"source": "ir_datasets", "passages": "msmarco-passage", "splits": splits, "titles": "rocketqa", "title_dataset": "owner/titles"}
    made = MadeResults(tmp_path / "results", corpus=corpus, evaluate=evaluate)
    text = " ".join("".join(Page(write_report(made.context).read_text(encoding="utf-8")).text).split())
    assert "Published numbers" in text
    assert "0.4110" in text
    assert "distilled here: " in text
    assert "titles: rocketqa, from owner/titles" in text
    assert "Published numbers" not in written.paths.report.read_text(encoding="utf-8")


def test_figures_that_are_not_comparable_say_so_beside_the_published_ones(tmp_path):
    splits = {"train": "msmarco-passage/train/judged", "dev": "msmarco-passage/dev/small"}
    evaluate = {"systems": ["bm25", "retriever1", "distilled"], "splits": {"dev": {}}, "main_split": "dev"}
    corpus = {"source": "ir_datasets", "passages": "msmarco-passage", "splits": splits, "titles": "rocketqa", "title_dataset": "owner/titles"}
    made = MadeResults(tmp_path / "results", corpus=corpus, evaluate=evaluate)
    verdicts = gate.verdicts(made.experiment, read_metrics(made.paths.metrics_table), json.loads((made.paths.corpus / "manifest.json").read_text()))
    write_rows(made.paths.reproduction, verdicts, gate.Verdict)
    first = write_report(made.context).read_text(encoding="utf-8").split('<section id="published">')[1].split("</section>")[0]
    assert first.count(" here: ") > 3
    assert first.count(" here: ") == first.count("not comparable</b>"), "60 passages are not MS MARCO"
    assert "nDCG@10" not in first, "a column without a published figure"
    write_rows(made.paths.reproduction, [replace(verdict, verdict=gate.OK, reason="-") for verdict in verdicts], gate.Verdict)
    first = write_report(made.context).read_text(encoding="utf-8").split('<section id="published">')[1].split("</section>")[0]
    assert "not comparable" not in first


def test_every_measured_job_is_in_the_table_of_times_and_wall_time_is_a_duration(made):
    (made.paths.root / "benchmarks" / "write_config.jsonl").write_text('{"s": 1.5, "max_rss": 20.0, "cpu_time": 1.0}\n')
    (made.paths.root / "benchmarks" / "track.jsonl").write_text('{"s": 3.0}\n')
    stages = read_stages(made.experiment, made.paths)
    assert [stage.name for stage in without_record(made.paths, stages)] == ["write_config"], "the mirror comes after the page"
    # Stages of 12.5 s begin one after the other, a second apart, in which their processes start: Snakemake measured 13.5 s of each.
    spans = sorted((stage.times()[1] / 1000 - stage.seconds, stage.times()[1] / 1000) for stage in stages)
    covered = {second for start, stop in spans for second in range(int(start * 10), int(stop * 10))}
    assert busy_seconds(stages) == pytest.approx(len(covered) / 10, abs=0.5 * len(stages))
    assert busy_seconds([*stages, *stages]) == busy_seconds(stages), "what runs side by side counts once"
    html = write_report(made.context).read_text(encoding="utf-8")
    assert "write_config" in html
    assert f"<span>wall time</span>{duration(busy_seconds(stages))}" in html


def test_another_relevance_level_is_said(tmp_path, capsys):
    made = MadeResults(tmp_path / "results", evaluate={"systems": ["bm25"], "splits": {"dev": {}, "test": {"relevance": 2}}, "main_split": "test"})
    write_report(made.context)
    text = re.sub(r"\s+", " ", " ".join(Page(made.paths.report.read_text(encoding="utf-8")).text))
    assert "test 20 queries, relevant from grade 2 on, " in text
    assert "dev 10 queries, the collection's own titles" in text
    assert "bm25 alone was judged" in text
    assert "far smaller than the paper's" not in text, "BM25 is no model"
    assert main(["summary", "--experiment", "made", "--results", str(made.paths.root.parent)]) == 0
    assert "test (20 queries, relevant from grade 2 on)" in capsys.readouterr().out


def test_full_size_models_are_not_called_small(made):
    from simlm.files import write_json
    from simlm.report.tables import is_small

    assert is_small(made.context)
    write_json(made.paths.model("distilled") / "config.json", {"hidden_size": 768, "num_hidden_layers": 12})
    assert not is_small(made.context)


def test_trainings_that_ran_elsewhere_are_named(made, capsys):
    file = made.paths.record("train.control")
    record = json.loads(file.read_text())
    record["environment"]["torch"], record["hardware"]["cpu"], record["git"]["commit"] = "2.12.0", "An older CPU", "1" * 40
    file.write_text(json.dumps(record))
    stages = read_stages(made.experiment, made.paths)
    assert elsewhere(stages) == {
        "train.control": "torch 2.12.0 instead of 2.13.0, cpu An older CPU instead of Some CPU, commit 111111111111 instead of 000000000000"
    }
    page = write_report(made.context).read_text()
    assert "train.control ran elsewhere" in page
    assert main(["summary", "--config", str(made.paths.config)]) == 0
    assert "train.control ran elsewhere than the newest stage: torch 2.12.0" in capsys.readouterr().out


def test_the_page_says_how_many_negatives_are_probably_right(tmp_path):
    made = MadeResults(tmp_path / "results", negatives={"drop_above": 0.95})
    made.stage("mine_negatives.retriever2", metrics={"compared": 400, "close": 30, "dropped_close": 30})
    made.stage("score_teacher.distilled", metrics={"negatives_compared": 200, "negatives_above": 20, "negatives_close": 25})
    rows = false_negatives(made.experiment, read_stages(made.experiment, made.paths))
    of_teacher = FalseNegatives("retriever2", "reranker", "distilled", 200, 0.1, 0.125, None)
    assert rows == [FalseNegatives("retriever2", "retriever2", "", 400, None, 0.075, 30), of_teacher]
    write_report(made.context)
    page = made.paths.report.read_text()
    section = page.partition('<section id="negatives">')[2].partition("</section>")[0]
    assert all(text in section for text in ("7.5%", "10.0%", "12.5%", "reranker", "retriever2"))


def test_a_page_of_no_counted_negatives_has_no_such_section(written):
    assert 'id="negatives"' not in written.paths.report.read_text()
