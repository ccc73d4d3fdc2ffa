"""The graph of models: what refers to what, refused where a name dangles, has the wrong kind or closes a cycle."""

from __future__ import annotations

import os
import re
from graphlib import CycleError, TopologicalSorter

from simlm.config.experiment import Experiment
from simlm.config.kinds import ModelBlock
from simlm.config.remote import HUB_ID
from simlm.errors import nearest

LEXICAL = "bm25"
"""Name of the system that every experiment has without a model."""


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


def initial_model(experiment: Experiment, name: str) -> str | None:
    """The model of the graph whose weights ``name`` starts from, or None when it starts from outside or from scratch."""
    start = experiment.models[name].initial()
    return start if start in experiment.models else None


def training_needs(experiment: Experiment, name: str) -> list[str]:
    """Models of the graph that must be trained before ``name`` can be."""
    model = experiment.models[name]
    needs = [initial_model(experiment, name), *model.reads_models().values(), model.reads_negatives()]
    return [need for need in needs if need in experiment.models]


def training_order(experiment: Experiment) -> list[str]:
    """All trained models, each after those it needs."""
    graph = {name: training_needs(experiment, name) for name, model in experiment.models.items() if model.trainer}
    return list(TopologicalSorter(graph).static_order())


def needed_models(experiment: Experiment) -> list[str]:
    """Trained models that the evaluated systems need, in an order in which they can be trained."""
    wanted, stack = set(), list(experiment.evaluate.systems)
    while stack:
        name = stack.pop()
        if name in wanted or name not in experiment.models:
            continue
        wanted.add(name)
        stack += [*training_needs(experiment, name), *experiment.models[name].reads_runs().values()]
    return [name for name in training_order(experiment) if name in wanted]


def mined_systems(experiment: Experiment) -> list[str]:
    """Systems whose top passages serve as hard negatives, in graph order."""
    sources = [experiment.models[name].reads_negatives() for name in needed_models(experiment)]
    return list(dict.fromkeys(source for source in sources if source))


def trainings_waiting(experiment: Experiment, system: str) -> int:
    """Number of trainings in the longest chain of them that waits for a system: the more, the sooner its jobs should run."""
    chains: dict[str, int] = {}
    for name in reversed(needed_models(experiment)):
        chains.setdefault(name, 0)
        for need in {*training_needs(experiment, name), experiment.models[name].reads_negatives()} - {None}:
            chains[need] = max(chains.get(need, 0), 1 + chains[name])
    return chains.get(system, 0)


def retrieving_systems(experiment: Experiment) -> list[str]:
    """Evaluated systems and those whose runs they read (re-ranked, fused), in graph order."""
    wanted, stack = set(), list(experiment.evaluate.systems)
    while stack:
        name = stack.pop()
        if name not in wanted:
            wanted.add(name)
            stack += experiment.models[name].reads_runs().values() if name in experiment.models else []
    return [name for name in (LEXICAL, *experiment.models) if name in wanted]


def needed_runs(experiment: Experiment, system: str) -> tuple[bool, list[str]]:
    """Which runs of a system the graph needs: the training split's (to mine it), and those of the evaluated splits."""
    splits = list(experiment.evaluate.splits) if system in retrieving_systems(experiment) else []
    return system in mined_systems(experiment), splits


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
    for name, model in experiment.models.items():
        _check_references(experiment, name, model)
    _check_cycles(experiment, "training", lambda name: training_needs(experiment, name) if experiment.models[name].trainer else [])
    _check_cycles(experiment, "evaluation", lambda name: [n for n in experiment.models[name].reads_runs().values() if n in experiment.models])
    _check_evaluation(experiment)


def _check_references(experiment: Experiment, name: str, model: ModelBlock) -> None:
    references = dict(model.reads_models()) | dict(model.reads_runs())
    if model.initial():
        references["init"] = model.initial()
    if model.reads_negatives():
        references["negatives"] = model.reads_negatives()
    known = [LEXICAL, *experiment.models]
    for field, target in references.items():
        place: tuple[str | int, ...] = ("models", name, *_field_path(field))
        kinds = model.accepts().get(field, ())
        if target not in known:
            if field in ("init", "generator") and is_external(target):
                continue
            hint = " (a Hugging Face id is written owner/name, a folder must exist)" if field in ("init", "generator") else ""
            raise GraphError(place, f"no model is called '{target}'{nearest(target, known)}{hint}")
        role = LEXICAL if target == LEXICAL else experiment.models[target].role
        if role not in kinds:
            kind = LEXICAL if target == LEXICAL else experiment.models[target].kind
            raise GraphError(place, f"'{target}' is of kind {kind}, but {field} takes {' or '.join(kinds) or 'a Hugging Face id or a folder'}")


def _field_path(field: str) -> tuple[str | int, ...]:
    indexed = re.fullmatch(r"(\w+)\[(\d+)\]", field)
    return (indexed[1], int(indexed[2])) if indexed else (field,)


def _check_cycles(experiment: Experiment, what: str, needs) -> None:
    try:
        TopologicalSorter({name: needs(name) for name in experiment.models}).prepare()
    except CycleError as error:
        circle = error.args[1]
        raise GraphError(("models", circle[0]), f"the {what} of these models waits for itself: {' → '.join(reversed(circle))}") from None


def _check_evaluation(experiment: Experiment) -> None:
    evaluate, known = experiment.evaluate, [LEXICAL, *experiment.models]
    for i, system in enumerate(evaluate.systems):
        if system not in known:
            raise GraphError(("evaluate", "systems", i), f"no model is called '{system}'{nearest(system, known)}")
        kind = LEXICAL if system == LEXICAL else experiment.models[system].kind
        if kind in ("mlm", "bottleneck"):
            raise GraphError(
                ("evaluate", "systems", i), f"'{system}' is of kind {kind}, which does not retrieve; evaluate a biencoder, a crossencoder or a fusion"
            )
    if len(set(evaluate.systems)) < len(evaluate.systems):
        raise GraphError(("evaluate", "systems"), "a system is listed twice")
    if evaluate.baseline not in evaluate.systems:
        raise GraphError(("evaluate", "baseline"), f"'{evaluate.baseline}' is not among the evaluated systems{nearest(evaluate.baseline, evaluate.systems)}")
    splits = experiment.corpus.split_names()
    places = [(("evaluate", "splits", split), split) for split in evaluate.splits]
    if len(experiment.bm25.analyzers) > 1:
        places.append((("bm25", "select_on"), experiment.bm25.select_on))
    for name, model in experiment.models.items():
        probe = getattr(model, "probe", None)
        if probe is not None:
            places.append((("models", name, "probe", "split"), probe.split))
    for place, split in places:
        if split not in splits:
            raise GraphError(place, f"the corpus has no split '{split}'{nearest(split, splits)} (it has {', '.join(splits)})")
    if evaluate.main_split not in evaluate.splits:
        raise GraphError(("evaluate", "main_split"), f"'{evaluate.main_split}' is not among evaluate.splits{nearest(evaluate.main_split, evaluate.splits)}")
    if evaluate.main_metric not in evaluate.metrics:
        raise GraphError(
            ("evaluate", "main_metric"), f"'{evaluate.main_metric}' is not among evaluate.metrics{nearest(evaluate.main_metric, evaluate.metrics)}"
        )
    if mined_systems(experiment) and "train" not in splits:
        raise GraphError(
            ("corpus",), "hard negatives are mined for the split 'train', which the corpus does not have; name one of its splits 'train' or use partition"
        )
