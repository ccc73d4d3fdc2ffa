"""The graph of models as a picture: layers from left to right, inline SVG that follows the page's colours."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from simlm.config import Experiment
from simlm.config.graph import Edge, edges
from simlm.config.remote import is_hub_id

WIDTH, HEIGHT, GAP_X, GAP_Y, LANE, MARGIN = 142, 46, 62, 26, 10, 14
"""Pixels: a model's box, the gaps between boxes, the height of a line that passes a layer, the outer margin."""
FITS = 17
"""Letters of a name that fit into a box; of a longer path the last part is shown."""

MEANINGS = {
    "init": "initial weights", "generator": "replacements", "negatives": "hard negatives", "teacher": "teacher scores",
    "rerank": "re-ranked runs", "of": "fused runs", "part": "parts",
}  # fmt: skip


@dataclass
class _Spot:
    """A model or, where a line passes a layer, a point of the line; ``y`` is the middle."""

    name: str
    layer: int
    box: bool
    y: float = 0.0
    before: list[_Spot] = field(default_factory=list)
    after: list[_Spot] = field(default_factory=list)

    @property
    def height(self) -> int:
        return HEIGHT if self.box else LANE

    @property
    def x(self) -> float:
        return MARGIN + self.layer * (WIDTH + GAP_X)


def graph_svg(experiment: Experiment) -> str:
    """Draw the graph; an ``<svg>`` element whose classes the page's style sheet colours."""
    arrows, systems = edges(experiment), experiment.systems
    idle = {*systems} - {*experiment.models, *experiment.evaluate.systems, *(name for edge in arrows for name in edge[:2])}
    outside = [edge.source for edge in arrows if edge.source not in systems]
    names = list(dict.fromkeys([*outside, *(name for name in systems if name not in idle)]))
    layers, lines = _spots(names, arrows)
    _order(layers)
    bottom = _place(layers)
    used = sorted({edge.what for edge in arrows}, key=lambda what: (list(MEANINGS).index(what) if what in MEANINGS else len(MEANINGS), what))
    width = 2 * MARGIN + len(layers) * WIDTH + (len(layers) - 1) * GAP_X
    height = bottom + MARGIN + 34
    boxes = {spot.name: spot for layer in layers for spot in layer if spot.box}
    parts = [_line(edge, spots, _port(edge, lines)) for edge, spots in lines.items()] + [_box(experiment, spot) for spot in boxes.values()]
    shape = 'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"'
    markers = "".join(f'<marker id="arrow-{what}" class="{what}" {shape}><path d="M0 0 8 4 0 8z"/></marker>' for what in used)
    title = "<title>The graph of models: what each one starts from, learns from and reads</title>"
    return (
        f'<svg class="graph" viewBox="0 0 {width} {height:.0f}" style="min-width:{width * 0.93:.0f}px;max-width:{width}px" role="img">'
        f"{title}<defs>{markers}</defs>{''.join(parts)}{_legend(used, height - 14)}</svg>"
    )


def _spots(names: list[str], edges: list[Edge]) -> tuple[list[list[_Spot]], dict[Edge, list[_Spot]]]:
    """Longest-path layers of boxes, and the points through which each line passes on its way."""
    import networkx

    graph = networkx.DiGraph()
    graph.add_nodes_from(names)
    graph.add_edges_from((edge.source, edge.target) for edge in edges)
    generations = list(networkx.topological_generations(graph))
    boxes = {name: _Spot(name, i, True) for i, generation in enumerate(generations) for name in generation}
    layers: list[list[_Spot]] = [[boxes[name] for name in generation] for generation in generations]
    passing: dict[tuple[str, str, int], _Spot] = {}
    lines = {}
    for edge in edges:
        spots = [boxes[edge.source]]
        for layer in range(boxes[edge.source].layer + 1, boxes[edge.target].layer):
            # What one model gives to several runs along one lane.
            key = (edge.source, edge.what, layer)
            if key not in passing:
                passing[key] = _Spot(f"{edge.source}/{edge.what}", layer, False)
                layers[layer].append(passing[key])
            spots.append(passing[key])
        spots.append(boxes[edge.target])
        for one, other in pairwise(spots):
            if other not in one.after:
                one.after.append(other)
                other.before.append(one)
        lines[edge] = spots
    return layers, lines


def _order(layers: list[list[_Spot]]) -> None:
    """A few barycentre sweeps: neighbours come to the same height, and lines cross less."""
    for sweep in range(12):
        forward = sweep % 2 == 0
        for layer in layers[1:] if forward else reversed(layers[:-1]):
            height = {id(spot): (row + 0.5) / len(one) for one in layers for row, spot in enumerate(one)}
            centres = {}
            for spot in layer:
                near = [height[id(other)] for other in (spot.before if forward else spot.after)]
                centres[id(spot)] = sum(near) / len(near) if near else height[id(spot)]
            layer.sort(key=lambda spot: centres[id(spot)])


def _place(layers: list[list[_Spot]]) -> float:
    """Give every spot its height, near its neighbours and clear of the spots of its layer; returns the lowest edge."""
    for layer in layers:
        y = 0.0
        for spot in layer:
            spot.y = y + spot.height / 2
            y += spot.height + GAP_Y
    for sweep in range(24):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wishes = []
            for spot in layer:
                near = [other.y for other in (*spot.before, *spot.after)]
                wishes.append(sum(near) / len(near) if near else spot.y)
            for spot, y in zip(layer, _apart(layer, wishes)):
                spot.y = y
    top = min(spot.y - spot.height / 2 for layer in layers for spot in layer)
    for layer in layers:
        for spot in layer:
            spot.y += MARGIN - top
    return max(spot.y + spot.height / 2 for layer in layers for spot in layer)


def _apart(layer: list[_Spot], wishes: list[float]) -> list[float]:
    """Heights as near to the wishes (least squares) as order and gaps allow: pooled adjacent violators."""
    offsets = [0.0]
    for one, other in pairwise(layer):
        offsets.append(offsets[-1] + (one.height + other.height) / 2 + GAP_Y * (1 if one.box or other.box else 0.4))
    pools: list[list[float]] = []
    for wish, offset in zip(wishes, offsets):
        pools.append([wish - offset, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            value, count = pools.pop()
            pools[-1] = [(pools[-1][0] * pools[-1][1] + value * count) / (pools[-1][1] + count), pools[-1][1] + count]
    free = [value for value, count in pools for _ in range(int(count))]
    return [value + offset for value, offset in zip(free, offsets)]


def _port(edge: Edge, lines: dict[Edge, list[_Spot]]) -> float:
    """Where on the left side of its target a line ends: one port per line, ordered by where the lines come from."""
    arriving = sorted((other for other in lines if other.target == edge.target), key=lambda other: lines[other][-2].y)
    box = lines[edge][-1]
    step = HEIGHT / (len(arriving) + 1)
    return box.y - HEIGHT / 2 + step * (arriving.index(edge) + 1)


def _line(edge: Edge, spots: list[_Spot], port: float) -> str:
    x, y = spots[0].x + WIDTH, spots[0].y
    path = f"M{x:.0f} {y:.1f}"
    for spot in spots[1:]:
        end = port if spot is spots[-1] else spot.y
        bend = GAP_X * 0.55
        path += f"C{x + bend:.0f} {y:.1f} {spot.x - bend:.0f} {end:.1f} {spot.x:.0f} {end:.1f}"
        x, y = spot.x, end
        if spot is not spots[-1]:
            x += WIDTH
            path += f"L{x:.0f} {y:.1f}"
    words = f"{edge.target} takes its {MEANINGS.get(edge.what, edge.what)} from {edge.source}"
    return f'<path class="edge {edge.what}" d="{path}" marker-end="url(#arrow-{edge.what})"><title>{escape(words)}</title></path>'


def _box(experiment: Experiment, spot: _Spot) -> str:
    name = spot.name
    system = experiment.systems.get(name)
    noun, style = (system.noun, system.style) if system else ("published model" if is_hub_id(name) else "model folder", "outside")
    evaluated = " evaluated" if name in experiment.evaluate.systems else ""
    last = name if len(name) <= FITS else name.rstrip("/").rpartition("/")[2]
    shown = last if len(last) <= FITS else "…" + last[1 - FITS :]
    return (
        f'<g class="node {style}{evaluated}"><title>{escape(name)}: {escape(noun)}</title>'
        f'<rect x="{spot.x:.0f}" y="{spot.y - HEIGHT / 2:.1f}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>'
        f'<text class="name" x="{spot.x + WIDTH / 2:.0f}" y="{spot.y - 3:.1f}">{escape(shown)}</text>'
        f'<text class="kind" x="{spot.x + WIDTH / 2:.0f}" y="{spot.y + 13:.1f}">{escape(noun)}</text></g>'
    )


def _legend(used: list[str], y: float) -> str:
    parts, x = [], MARGIN
    for what in used:
        parts.append(f'<path class="edge {what}" d="M{x} {y - 4:.0f}h34" marker-end="url(#arrow-{what})"/>')
        parts.append(f'<text class="legend" x="{x + 42}" y="{y:.0f}">{escape(MEANINGS.get(what, what))}</text>')
        x += 42 + 7 * len(MEANINGS.get(what, what)) + 26
    return "".join(parts)
