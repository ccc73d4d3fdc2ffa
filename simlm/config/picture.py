"""The graph of models, drawn for people: lines of text and a mermaid diagram."""

from __future__ import annotations

from simlm.config.experiment import Experiment
from simlm.config.graph import LEXICAL, needed_models, systems_with_runs

SHAPES = {"mlm": ("[", "]"), "bottleneck": ("[[", "]]"), "biencoder": ("(", ")"), "crossencoder": ("{{", "}}"), "fusion": ("([", "])")}


def edges(experiment: Experiment) -> list[tuple[str, str, str]]:
    """(from, to, what is passed on) for every arrow between systems; starts from outside the graph included."""
    found = []
    for name, model in experiment.models.items():
        if model.initial():
            found.append((model.initial(), name, "init"))
        found += [(other, name, field) for field, other in model.reads_models().items()]
        if model.reads_negatives():
            found.append((model.reads_negatives(), name, "negatives"))
        found += [(other, name, field.split("[")[0]) for field, other in model.reads_runs().items()]
    return found


def outline(experiment: Experiment) -> str:
    """One line per model, in the order of training: what it is and what it reads."""
    order = [*needed_models(experiment), *(name for name in systems_with_runs(experiment) if name != LEXICAL and experiment.models[name].trainer is None)]
    unused = [name for name in experiment.models if name not in order]
    width, kinds = max(map(len, experiment.models)), max(12, *(len(model.kind) for model in experiment.models.values()))
    lines = []
    for name in [*order, *unused]:
        reads = ", ".join(f"{what} {source}" for source, target, what in edges(experiment) if target == name) or "from scratch"
        note = "  (not needed by evaluate.systems; built only when asked for)" if name in unused else ""
        lines.append(f"  {name:<{width}}  {experiment.models[name].kind:<{kinds}}  {reads}{note}")
    return "\n".join(lines)


def mermaid(experiment: Experiment) -> str:
    """The graph as a mermaid flowchart, which README renderers show; evaluated systems have a thick border."""
    arrows = edges(experiment)
    names = list(dict.fromkeys([*(source for source, _, _ in arrows), *experiment.models]))
    ids = {name: name if name in experiment.models or name == LEXICAL else f"outside{i}" for i, name in enumerate(names)}
    lines = ["flowchart LR"]
    for name in names:
        left, right = SHAPES.get(experiment.models[name].role, ("[", "]")) if name in experiment.models else ("[(", ")]")
        lines.append(f'  {ids[name]}{left}"{name}"{right}')
    styles = {"init": "-->", "negatives": "-.->", "teacher": "==>"}
    lines += [f"  {ids[source]} {styles.get(what, '-->')}|{what}| {ids[target]}" for source, target, what in arrows]
    lines += ["  classDef judged stroke-width:3px", f"  class {','.join(ids[name] for name in experiment.evaluate.systems if name in ids)} judged"]
    return "\n".join(lines)
