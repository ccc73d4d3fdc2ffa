"""The graph of models as a picture: layers from left to right, inline SVG that follows the page's colours."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from simlm.config import Experiment
from simlm.config.graph import LEXICAL, is_external

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 150, 46, 96, 30, 16

NOUNS = {
    "bm25": "lexical", "mlm": "masked LM", "bottleneck": "SimLM pre-training", "biencoder": "dense retriever",
    "crossencoder": "re-ranker", "fusion": "rank fusion", "external": "published model",
}  # fmt: skip


@dataclass(frozen=True)
class Edge:
    """``source`` gives ``target`` its weights, negatives, scores or runs (``what``)."""

    source: str
    target: str
    what: str


def edges_of(experiment: Experiment) -> list[Edge]:
    """All references between models, and from outside models."""
    edges = []
    for name, model in experiment.models.items():
        references = {"init": model.initial(), **model.reads_models(), "negatives": model.reads_negatives(), **model.reads_runs()}
        for field, source in references.items():
            if source:
                edges.append(Edge(source, name, "fused" if field.startswith("of[") else "re-ranked" if field == "rerank" else field))
    return edges


def graph_svg(experiment: Experiment) -> str:
    """Draw the graph; an ``<svg>`` element whose classes the page's style sheet colours."""
    edges = edges_of(experiment)
    names = list(dict.fromkeys([LEXICAL, *(edge.source for edge in edges if is_external(edge.source)), *experiment.models]))
    edges = [edge for edge in edges if edge.source in names]
    layers = _layers(names, edges)
    places = {}
    tallest = max(map(len, layers))
    for column, layer in enumerate(layers):
        offset = (tallest - len(layer)) * (HEIGHT + GAP_Y) / 2
        for row, name in enumerate(layer):
            places[name] = (MARGIN + column * (WIDTH + GAP_X), MARGIN + offset + row * (HEIGHT + GAP_Y))
    width = 2 * MARGIN + len(layers) * WIDTH + (len(layers) - 1) * GAP_X
    height = 2 * MARGIN + tallest * HEIGHT + (tallest - 1) * GAP_Y + 40
    parts = [_edge(edge, places, layers) for edge in _merged(edges)] + [_node(experiment, name, places[name]) for name in names]
    arrow = '<marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z"/></marker>'
    title = "<title>The graph of models: what each one starts from, learns from and reads</title>"
    return f'<svg class="graph" viewBox="0 0 {width} {height:.0f}" width="{width}" role="img">{title}<defs>{arrow}</defs>{"".join(parts)}</svg>'


def _merged(edges: list[Edge]) -> list[Edge]:
    """One edge per pair of models, with all its meanings."""
    pairs: dict[tuple[str, str], list[str]] = {}
    for edge in edges:
        pairs.setdefault((edge.source, edge.target), []).append(edge.what)
    return [Edge(source, target, ", ".join(dict.fromkeys(what))) for (source, target), what in pairs.items()]


def _layers(names: list[str], edges: list[Edge]) -> list[list[str]]:
    """Longest-path layers, then a few barycentre sweeps that put neighbours at the same height."""
    import networkx

    graph = networkx.DiGraph()
    graph.add_nodes_from(names)
    graph.add_edges_from((edge.source, edge.target) for edge in edges)
    layers = [list(layer) for layer in networkx.topological_generations(graph)]
    for sweep in range(8):
        forward = sweep % 2 == 0
        for layer in layers[1:] if forward else reversed(layers[:-1]):
            neighbours = graph.predecessors if forward else graph.successors
            height = {name: row - len(one) / 2 for one in layers for row, name in enumerate(one)}
            centre = {name: [height[other] for other in neighbours(name)] for name in layer}
            layer.sort(key=lambda name: sum(centre[name]) / len(centre[name]) if centre[name] else height[name])
    return layers


def _node(experiment: Experiment, name: str, place: tuple[float, float]) -> str:
    x, y = place
    kind = "bm25" if name == LEXICAL else experiment.models[name].kind if name in experiment.models else "external"
    evaluated = " evaluated" if name in experiment.evaluate.systems else ""
    shown = name if len(name) <= 19 else "…" + name[-18:]
    return (
        f'<g class="node {kind}{evaluated}"><title>{escape(name)}: {NOUNS.get(kind, kind)}</title>'
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>'
        f'<text class="name" x="{x + WIDTH / 2}" y="{y + 20}">{escape(shown)}</text>'
        f'<text class="kind" x="{x + WIDTH / 2}" y="{y + 36}">{escape(NOUNS.get(kind, kind))}</text></g>'
    )


def _edge(edge: Edge, places: dict[str, tuple[float, float]], layers: list[list[str]]) -> str:
    """A curve from the right side of the source to the left side of the target, labelled where it starts to bend."""
    column = {name: i for i, layer in enumerate(layers) for name in layer}
    (x1, y1), (x2, y2) = places[edge.source], places[edge.target]
    x1, y1, y2 = x1 + WIDTH, y1 + HEIGHT / 2, y2 + HEIGHT / 2
    x2 -= 2
    span = column[edge.target] - column[edge.source]
    if span > 1 and abs(y1 - y2) < 1:
        # A straight line would run through the nodes between: go below them.
        dip = y1 + (HEIGHT / 2 + GAP_Y / 2 + 4)
        path = f"M{x1} {y1}C{x1 + 40} {y1} {x1 + 30} {dip} {x1 + GAP_X} {dip}L{x2 - GAP_X} {dip}C{x2 - 30} {dip} {x2 - 40} {y2} {x2} {y2}"
    else:
        bend = GAP_X * 0.6
        start = x2 - GAP_X + 2 if span > 1 else x1
        lead = f"L{start:.0f} {y1}" if span > 1 and _free(y1, column[edge.source], column[edge.target], places, layers) else ""
        begin = start if lead else x1
        path = f"M{x1} {y1}{lead}C{begin + bend:.0f} {y1} {x2 - bend:.0f} {y2} {x2} {y2}"
    # Labels sit beside the target, where edges of one source have already parted.
    label = f'<text x="{x2 - 10}" y="{y2 - 5 + (0 if y1 <= y2 else 14)}">{escape(edge.what)}</text>'
    kind = edge.what.split(",")[0]
    return f'<g class="edge {kind}"><path d="{path}" marker-end="url(#arrow)"/>{label}</g>'


def _free(y: float, first: int, last: int, places: dict[str, tuple[float, float]], layers: list[list[str]]) -> bool:
    """Whether a horizontal line at ``y`` meets no node between two columns."""
    return all(not places[name][1] - 4 <= y <= places[name][1] + HEIGHT + 4 for layer in layers[first + 1 : last] for name in layer)
