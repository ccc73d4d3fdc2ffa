"""The graph of models, drawn for people: lines of text and a mermaid diagram."""

from __future__ import annotations

from simlm.config.experiment import Experiment
from simlm.config.graph import edges, needed_models, node_of, systems_with_runs

ARROWS = {"negatives": "-.->", "teacher": "==>"}
"""Arrows that are not plain, by what is passed on."""


def outline(experiment: Experiment) -> str:
    """One line per model and part, in the order of training: what it is and what it reads."""
    models, systems = experiment.models, experiment.systems
    order = list(dict.fromkeys([*needed_models(experiment), *(node_of(name) for name in systems_with_runs(experiment) if node_of(name) in models)]))
    handed = {node_of(edge.source) for edge in edges(experiment) if node_of(edge.target) in order and edge.source in systems}
    order += [name for name in models if name in handed and name not in order]
    unused = [name for name in models if name not in order]
    shown = [name for node in [*order, *unused] for name in systems if node_of(name) == node]
    if not shown:
        return "  no model: BM25 alone"
    width, kinds = max(map(len, shown)), max(12, *(len(systems[name].kind) for name in shown))
    lines = []
    for name in shown:
        into = [edge for edge in edges(experiment) if edge.target == name]
        reads = ", ".join(f"part of {edge.source}" if edge.what == "part" else f"{edge.what} {edge.source}" for edge in into)
        files = ", ".join(map(str, systems[name].reads_files().values())) + (f"  ({systems[name].looked_at})" if systems[name].looked_at else "")
        note = "  (not needed by evaluate.systems; built only when asked for)" if name in unused else ""
        lines.append(f"  {name:<{width}}  {systems[name].kind:<{kinds}}  {reads or files or 'from scratch'}{note}")
    return "\n".join(lines)


def mermaid(experiment: Experiment) -> str:
    """The graph as a mermaid flowchart, which README renderers show; evaluated systems have a thick border."""
    arrows, systems = edges(experiment), experiment.systems
    names = list(dict.fromkeys([*(edge.source for edge in arrows), *(name for name in systems if node_of(name) in experiment.models)]))
    ids = {name: name.replace(".", "_part_") if name in systems else f"outside{i}" for i, name in enumerate(names)}
    lines = ["flowchart LR"]
    for name in names:
        left, right = systems[name].shape if name in systems else ("[(", ")]")
        lines.append(f'  {ids[name]}{left}"{name}"{right}')
    lines += [f"  {ids[edge.source]} {ARROWS.get(edge.what, '-->')}|{edge.what}| {ids[edge.target]}" for edge in arrows]
    if judged := [ids[name] for name in experiment.evaluate.systems if name in ids]:
        lines += ["  classDef judged stroke-width:3px", f"  class {','.join(judged)} judged"]
    return "\n".join(lines)
