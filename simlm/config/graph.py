"""The graph of models: what refers to what, refused where a name dangles, has the wrong kind or closes a cycle."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from simlm.config.experiment import Experiment
from simlm.config.kinds.base import ROLES, System
from simlm.config.kinds.bm25 import LEXICAL
from simlm.config.kinds.roles import relatedness
from simlm.config.metrics import by_answers
from simlm.config.remote import HUB_ID
from simlm.errors import nearest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""Names of models: they become folders, and words of the jobs' command lines."""


class GraphError(Exception):
    """A mistake in how the blocks refer to each other, with the place as a path of keys."""

    def __init__(self, place: tuple[str | int, ...], sentence: str) -> None:
        super().__init__(sentence)
        self.place, self.sentence = place, sentence


def is_external(name: str) -> bool:
    """Whether ``name`` is a local folder or a Hugging Face id rather than a model of the graph.

    >>> is_external("google-bert/bert-base-uncased"), is_external("retriever1")
    (True, False)
    """
    return os.path.isdir(name) or name.startswith((".", "/", "~")) or bool(HUB_ID.match(name))


def node_of(name: str) -> str:
    """The model of the graph that a name belongs to: itself, or the model that a part is of.

    >>> node_of("joint.retriever"), node_of("retriever1")
    ('joint', 'retriever1')
    """
    return name.partition(".")[0]


def folders_of(experiment: Experiment, name: str) -> list[str]:
    """Names of the model folders that a model of the graph writes: its parts', or its own; none for a system without a folder."""
    model = experiment.models[name]
    return [f"{name}.{part}" for part in model.parts()] or ([name] if model.trainer else [])


def references(system: System) -> dict[str, str]:
    """Field → what it names, for everything that a system refers to, models outside the graph included."""
    named = {"init": system.initial(), **system.reads_models(), **system.mined_from(), **system.reads_runs()}
    return {field: target for field, target in named.items() if target}


class Edge(NamedTuple):
    """``source`` gives ``target`` what the field ``what`` names."""

    source: str
    target: str
    what: str


def edges(experiment: Experiment) -> list[Edge]:
    """All references between systems, starts from outside the graph included; a model gives its parts a ``part``."""
    found = []
    for name, system in experiment.systems.items():
        found += [Edge(name.partition(".")[0], name, "part")] if "." in name else []
        found += [Edge(source, name, field.partition("[")[0]) for field, source in references(system).items()]
    return found


def training_needs(experiment: Experiment, name: str) -> list[str]:
    """Models of the graph that must be trained before ``name`` can be."""
    model = experiment.models[name]
    mined = [one for source in model.mined_from().values() for one in made_runs_behind(experiment, source)]
    needs = [model.initial(), *model.reads_models().values(), *mined]
    nodes = [node_of(need) for need in needs if need in experiment.systems]
    return [node for node in nodes if node in experiment.models and experiment.models[node].trainer]


def training_order(experiment: Experiment) -> list[str]:
    """All models that have a folder, each after those it needs."""
    graph = {name: training_needs(experiment, name) for name, model in experiment.models.items() if model.trainer}
    return list(TopologicalSorter(graph).static_order())


def needed_models(experiment: Experiment) -> list[str]:
    """Models with a folder that the evaluated systems need, in an order in which they can be made."""
    needed = _closure(
        [node_of(name) for name in systems_with_runs(experiment)],
        lambda name: [*training_needs(experiment, name), *_nodes(experiment.models[name].reads_runs())] if name in experiment.models else [],
    )
    return [name for name in training_order(experiment) if name in needed]


def systems_with_runs(experiment: Experiment) -> list[str]:
    """Systems whose evaluated splits are searched, the evaluated ones first: then those whose runs they read (re-ranked, fused)."""
    return _closure(experiment.evaluate.systems, lambda name: experiment.system(name).reads_runs().values())


def made_runs_behind(experiment: Experiment, name: str | None) -> list[str]:
    """Systems that search by themselves behind the runs of a system: itself, or those that it fuses; none for no name."""
    systems = experiment.systems
    every = _closure([name] if name else [], lambda one: systems[one].reads_runs().values() if one in systems else [])
    return [one for one in every if one not in systems or not systems[one].reads_runs()]


def trainings_behind(experiment: Experiment, systems: Iterable[str]) -> list[str]:
    """Models that are trained on queries and whose weights, or whose teachers' or starts', are in the runs of ``systems``."""
    first = [node_of(one) for name in systems for one in made_runs_behind(experiment, name)]
    every = _closure([name for name in first if name in experiment.models], lambda name: training_needs(experiment, name))
    return [name for name in every if experiment.models[name].made_by == "train" and not experiment.models[name].pretrained]


def minable(experiment: Experiment, name: str) -> bool:
    """Whether a system, and every one whose runs it fuses, can search the training queries."""
    systems = experiment.systems
    return all(systems[one].mined for one in _closure([name], lambda one: systems[one].reads_runs().values() if systems[one].mined else []))


def mined_systems(experiment: Experiment, models: Iterable[str] | None = None) -> list[str]:
    """Systems whose top passages serve as hard negatives of ``models``, by default of those that the evaluated systems need."""
    names = needed_models(experiment) if models is None else models
    return list(dict.fromkeys(source for name in names for source in experiment.models[name].mined_from().values()))


def searched_for_training(experiment: Experiment) -> list[str]:
    """Systems whose runs of the training queries are needed: those that are mined, and the parts of a fusion that is mined or chooses its weights."""
    judged = [part for name in systems_with_runs(experiment) if experiment.system(name).learns for part in experiment.system(name).reads_runs().values()]
    return _closure([*mined_systems(experiment), *judged], lambda name: experiment.system(name).reads_runs().values())


def scored_by(experiment: Experiment, source: str) -> str:
    """The system whose scores say how close a mined passage is to a positive: the source, or the first part that embeds of a fusion, which scores by ranks."""
    parts = made_runs_behind(experiment, source)
    return next((part for part in parts if experiment.system(part).encodes), parts[0])


def encoders(experiment: Experiment) -> list[str]:
    """Models and parts that embed passages, in the order of the file."""
    return [name for name, system in experiment.systems.items() if system.encodes]


def searched_splits(experiment: Experiment, system: str) -> list[str]:
    """Splits whose queries the graph searches with a system: the training queries, to be mined, and the evaluated ones; these where nothing asks for any."""
    mined = system in searched_for_training(experiment)
    judged = system in systems_with_runs(experiment) or not mined
    return list(dict.fromkeys([*(["train"] if mined else []), *(experiment.evaluate.splits if judged else [])]))


def trainings_waiting(experiment: Experiment) -> dict[str, int]:
    """Model → number of trainings in the longest chain of them that waits for it: the more, the sooner its jobs should run."""
    chains: dict[str, int] = {}
    for name in reversed(needed_models(experiment)):
        chains.setdefault(name, 0)
        for need in {*training_needs(experiment, name), *_nodes(experiment.models[name].mined_from())}:
            chains[need] = max(chains.get(need, 0), 1 + chains[name])
    return chains


def headline_system(experiment: Experiment) -> str:
    """The system that a configuration builds up to, which answers a search unless another is named.

    It is the last evaluated model that embeds, or else the last system. In the default graph this is ``distilled``, the one
    that the paper's headline is about.
    """
    systems = experiment.evaluate.systems
    return next((name for name in reversed(systems) if experiment.system(name).encodes), systems[-1])


def counterparts(experiment: Experiment, name: str) -> list[str]:
    """Evaluated systems that a system is a step from, the most telling first; empty for the first of them.

    They are those that it builds on (the list that a re-ranker sorts, the parts of a fusion, the retriever that a training
    starts from). A model none of whose starts is evaluated is compared with the earlier one of its role whose settings
    differ least, and the first of its role with the baseline.
    """
    systems, block = experiment.evaluate.systems, experiment.system(name)
    on = [other for other in block.builds_on() if other in systems and other != name]
    if not on and block.compared_by:
        rows = {other: experiment.system(other) for other in systems[: systems.index(name)]}
        earlier = [other for other, row in rows.items() if row.compared_by == block.compared_by and name not in row.builds_on()]
        # Of equally close ones the latest.
        on = [min(reversed(earlier), key=lambda other: relatedness(block, rows[other]))] if earlier else []
    baseline = experiment.evaluate.baseline
    on = on or ([baseline] if name != baseline else [])
    return sorted(on, key=lambda other: other == baseline)


def compared_pairs(experiment: Experiment) -> list[tuple[str, str]]:
    """Each evaluated system against the baseline, its :func:`counterparts` and the published model that its weights come from, every pair once."""
    evaluate = experiment.evaluate
    pairs = [
        (name, other)
        for name in evaluate.systems
        for other in (evaluate.baseline, *counterparts(experiment, name), *published_start(experiment, name))
        if other != name
    ]
    return [pair for i, pair in enumerate(pairs) if pair not in pairs[:i] and pair[::-1] not in pairs[:i]]


def starts_of(experiment: Experiment, name: str) -> list[str]:
    """Systems of the graph that the weights of a system come from, the nearest first."""
    found: list[str] = []
    while (start := experiment.system(name).initial()) in experiment.systems and start not in found:
        found.append(name := str(start))
    return found


def published_start(experiment: Experiment, name: str) -> list[str]:
    """The evaluated published model that the weights of a system come from, if there is one."""
    starts = [start for start in starts_of(experiment, name) if start in experiment.evaluate.systems]
    return [start for start in starts[-1:] if experiment.system(start).origin == "released"]


def expected_above(experiment: Experiment) -> list[tuple[str, str]]:
    """Pairs of evaluated systems of which the first should not be worse than the second.

    They are a model and the nearest and the furthest start of its weights that retrieve, a re-ranker and the list that it sorts, a
    fusion and each of its parts, and a teacher and its student.
    """
    judged, pairs = experiment.evaluate.systems, []
    for name in judged:
        system = experiment.system(name)
        starts = [start for start in starts_of(experiment, name) if start in judged and system.encodes]
        pairs += [(name, other) for other in (*starts[:1], *starts[-1:], *system.reads_runs().values()) if other in judged]
        # What is not trained has no teacher: it borrows a model.
        pairs += [(teacher, name) for teacher in system.reads_models().values() if teacher in judged and system.trainer]
    return list(dict.fromkeys(pairs))


def _closure(start: Iterable[str], follow: Callable[[str], Iterable[str]]) -> list[str]:
    """The names of ``start`` and all that can be reached from them, in the order in which they are met."""
    found, queue = dict.fromkeys(start), deque(start)
    while queue:
        new = [name for name in follow(queue.popleft()) if name not in found]
        found |= dict.fromkeys(new)
        queue += new
    return list(found)


def _nodes(fields: dict[str, str | None]) -> list[str]:
    return [node_of(name) for name in fields.values() if name]


def check_graph(experiment: Experiment) -> None:
    """Refuse what the types alone cannot see.

    Raises
    ------
    GraphError
        With the place of the first mistake.
    """
    for name in experiment.models:
        if not NAME.fullmatch(name):
            raise GraphError(("models", name), f"the model name '{name}' becomes a file name; use letters, digits, '_' and '-', at most 64")
    if LEXICAL in experiment.models:
        raise GraphError(("models", LEXICAL), f"'{LEXICAL}' is the name of the lexical baseline; choose another")
    for name in experiment.models:
        _check_references(experiment, name)
    _check_cycles("training", {name: training_needs(experiment, name) for name, model in experiment.models.items() if model.trainer})
    _check_cycles("evaluation", {name: system.reads_runs().values() for name, system in experiment.systems.items()})
    _check_evaluation(experiment)
    for name in experiment.models:
        _check_lists(experiment, name)


def _check_lists(experiment: Experiment, name: str) -> None:
    """Lists that a model reads: systems twice in one, or too few negatives in another."""
    model, negatives = experiment.models[name], experiment.negatives
    read = model.reads_runs()
    for i, (field, system) in enumerate(read.items()):
        if system in list(read.values())[:i]:
            raise GraphError(("models", name, *_field_path(field)), f"'{system}' is there twice, which only doubles its own order; name another system")
    for field, system in {**(read if model.learns else {}), **model.mined_from()}.items():
        if not minable(experiment, system):
            raise GraphError(
                ("models", name, *_field_path(field)),
                f"'{system}' reads runs of a system that does not search the training queries; name one that is BM25, embeds, or fuses such systems",
            )
    wanted, listed = getattr(model, "hard_negatives", 0), max(min(negatives.sample, negatives.depth), negatives.pad_to)
    if model.reads_negatives() and wanted > listed:
        raise GraphError(
            ("models", name, "hard_negatives"),
            f"{wanted} hard negatives a step are more than a list holds, so that they would repeat: negatives.sample of depth, or pad_to, gives {listed}",
        )


def _check_references(experiment: Experiment, name: str) -> None:
    model, known = experiment.models[name], experiment.systems
    named = [(field, target, model) for field, target in references(model).items()]
    # The runs that a part reads are named by its model, or are those of another part.
    named += [(field, target, part) for part in model.parts().values() for field, target in references(part).items()]
    for field, target, block in named:
        place: tuple[str | int, ...] = ("models", name, *_field_path(field))
        outside = field in block.outside
        if target not in known:
            if outside and is_external(target):
                continue
            hint = " (a Hugging Face id is written owner/name, a folder must exist)" if outside else ""
            raise GraphError(place, f"no model is called '{target}'{nearest(target, known)}{hint}")
        roles = block.accepts().get(field, ())
        if not any(getattr(known[target], role) for role in roles):
            wanted = " or ".join(ROLES[role] for role in roles) or "a Hugging Face id or a folder"
            fitting = [one for one, other in known.items() if one != name and any(getattr(other, role) for role in roles)]
            there = f" (there are {', '.join(fitting)})" if fitting else ""
            raise GraphError(place, f"'{target}' is of kind {known[target].kind}, but {field} takes {wanted}{there}")


def _field_path(field: str) -> tuple[str | int, ...]:
    indexed = re.fullmatch(r"(\w+)\[(\d+)\]", field)
    return (indexed[1], int(indexed[2])) if indexed else (field,)


def _check_cycles(what: str, needs: dict[str, Iterable[str]]) -> None:
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        circle = error.args[1]
        raise GraphError(("models", circle[0]), f"the {what} of these models waits for itself: {' → '.join(reversed(circle))}") from None


def _check_evaluation(experiment: Experiment) -> None:
    evaluate, known = experiment.evaluate, experiment.systems
    for i, system in enumerate(evaluate.systems):
        if system not in known:
            raise GraphError(("evaluate", "systems", i), f"no model is called '{system}'{nearest(system, known)}")
        if not known[system].retrieves:
            able = [name for name, block in known.items() if block.retrieves]
            raise GraphError(("evaluate", "systems", i), f"'{system}' is of kind {known[system].kind}, which does not retrieve; choose of {', '.join(able)}")
    if len(set(evaluate.systems)) < len(evaluate.systems):
        raise GraphError(("evaluate", "systems"), "a system is listed twice")
    if evaluate.baseline not in evaluate.systems:
        raise GraphError(("evaluate", "baseline"), f"'{evaluate.baseline}' is not among the evaluated systems{nearest(evaluate.baseline, evaluate.systems)}")
    _check_variants(experiment)
    splits = experiment.corpus.split_names()
    places = [(("evaluate", "splits", split), split) for split in evaluate.splits]
    blocks = [((LEXICAL,), experiment.bm25), *((("models", name), model) for name, model in experiment.models.items())]
    places += [((*place, *field.split(".")), split) for place, block in blocks for field, split in block.reads_splits().items()]
    for place, split in places:
        if split not in splits:
            raise GraphError(place, f"the corpus has no split '{split}'{nearest(split, splits)} (it has {', '.join(splits)})")
    if evaluate.main_split not in evaluate.splits:
        raise GraphError(("evaluate", "main_split"), f"'{evaluate.main_split}' is not among evaluate.splits{nearest(evaluate.main_split, evaluate.splits)}")
    if evaluate.main_metric not in evaluate.metrics:
        raise GraphError(
            ("evaluate", "main_metric"), f"'{evaluate.main_metric}' is not among evaluate.metrics{nearest(evaluate.main_metric, evaluate.metrics)}"
        )
    _check_judged_by(experiment)
    if searched_for_training(experiment) and "train" not in splits:
        what = "hard negatives are mined for" if mined_systems(experiment) else "the weights of a fusion are chosen on"
        raise GraphError(("corpus",), f"{what} the split 'train', which the corpus does not have; name one of its splits 'train' or use partition")


def _check_judged_by(experiment: Experiment) -> None:
    """Metrics that a split cannot be judged by, and negatives that no answer can be looked for in."""
    for split in experiment.evaluate.splits:
        for i, metric in enumerate(experiment.evaluate.metrics):
            if by_answers(metric) and not experiment.corpus.has_answers(split):
                raise GraphError(("evaluate", "metrics", i), f"{metric} is judged by the answers of questions, which the split '{split}' does not have")
            if not by_answers(metric) and not experiment.corpus.has_judgements(split):
                raise GraphError(("evaluate", "metrics", i), f"{metric} needs judged passages, but the split '{split}' has answers alone; take Answer@20")
    for name, model in experiment.models.items():
        for field, split in model.reads_splits().items():
            if not experiment.corpus.has_judgements(split):
                raise GraphError(("models", name, *field.split(".")), f"the split '{split}' has answers alone, but this asks for judged passages")
    if experiment.negatives.answers != "ignored" and "train" in experiment.corpus.split_names() and not experiment.corpus.has_answers("train"):
        raise GraphError(("negatives", "answers"), "the queries of the split 'train' come without answers; leave it out")


def _check_variants(experiment: Experiment) -> None:
    seen: dict[str, str] = {}
    for name, members in experiment.variants.items():
        for system in members:
            place = ("variants", name)
            if system not in experiment.evaluate.systems:
                raise GraphError(place, f"'{system}' is not among the evaluated systems{nearest(system, experiment.evaluate.systems)}")
            if system in seen:
                raise GraphError(place, f"'{system}' is listed twice, in '{seen[system]}' and here")
            seen[system] = name
        if not members or (name in experiment.evaluate.systems and name not in members):
            raise GraphError(("variants", name), "a variant averages one evaluated system or more, and must not have the name of another system")
