import itertools
import re
import xml.etree.ElementTree as ElementTree

from made_results import MadeResults
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from simlm.config.graph import edges as edges_of
from simlm.config.graph import training_needs
from simlm.report.graph import GAP_Y, HEIGHT, WIDTH, _order, _place, _spots, graph_svg


def test_every_need_of_a_model_is_an_edge(made):
    edges = {(edge.source, edge.target) for edge in edges_of(made.experiment)}
    for name, model in made.experiment.models.items():
        if model.trainer:
            assert {(need, name) for need in training_needs(made.experiment, name)} <= edges
    assert {("bm25", "fusion"), ("distilled", "fusion"), ("retriever2", "reranker"), ("bm25", "control")} <= edges


def test_boxes_do_not_touch_and_edges_go_right(made):
    edges = edges_of(made.experiment)
    layers, lines = _spots(["bm25", *made.experiment.models], edges)
    _order(layers)
    _place(layers)
    for layer in layers:
        for upper, lower in itertools.pairwise(layer):
            assert lower.y - lower.height / 2 >= upper.y + upper.height / 2 + GAP_Y * 0.4 - 1e-6
    assert all(spots[0].layer < spots[-1].layer for spots in lines.values())
    assert set(lines) == set(edges)


def test_the_picture_is_xml_with_one_box_per_model(made):
    svg = graph_svg(made.experiment)
    root = ElementTree.fromstring(svg)
    boxes = [element for element in root.iter() if element.tag.endswith("rect")]
    assert len(boxes) == len(made.experiment.models) + 1
    width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', svg).groups())
    assert all(float(box.get("x")) + WIDTH <= width and float(box.get("y")) + HEIGHT <= height for box in boxes)


def test_names_are_escaped(tmp_path):
    # A model of the graph cannot be called so, a folder that it starts from can.
    values = {
        "models": {"base": {"kind": "mlm", "init": './<b>"&', "steps": 1}},
        "evaluate": {"systems": ["bm25"], "splits": {"test": {}}, "main_split": "test"},
    }
    made = MadeResults(tmp_path / "results", **values)
    svg = graph_svg(made.experiment)
    ElementTree.fromstring(svg)
    assert "&lt;b&gt;" in svg
    assert "<b>" not in svg


def test_a_folder_is_no_published_model_and_words_fit_their_boxes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pretrained/pydocs-generator").mkdir(parents=True)
    models = {
        "one": {"kind": "mlm", "init": "pretrained/pydocs-generator", "steps": 1},
        "two": {"kind": "mlm", "init": "google-bert/bert-base-uncased", "steps": 1},
    }
    evaluate = {"systems": ["bm25"], "splits": {"test": {}}, "main_split": "test"}
    svg = graph_svg(MadeResults(tmp_path / "results", models=models, evaluate=evaluate).experiment)
    assert "<title>pretrained/pydocs-generator: model folder</title>" in svg
    assert "<title>google-bert/bert-base-uncased: published model</title>" in svg
    assert ">pydocs-generator</text>" in svg, "the end of the path says more than its last letters"
    prop = FontProperties(family="DejaVu Sans", weight="bold")
    words = set(re.findall(r'<text class="(?:name|kind)"[^>]*>([^<]+)</text>', svg)) | {"SimLM pre-training"}
    assert max(TextPath((0, 0), word, size=13, prop=prop).get_extents().x1 for word in words) < WIDTH
