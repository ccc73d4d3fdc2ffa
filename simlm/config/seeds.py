"""Several seeds of one configuration: a model with ``seeds`` becomes a node per seed, and so does all that is built on it.

``masked`` with ``seeds: [1, 2]`` becomes ``masked-s1`` and ``masked-s2``; a retriever that starts from ``masked`` becomes two as well,
each from the one of its seed. What names neither (corpus, BM25, a frozen generator) is shared. The nodes of an evaluated system
are one entry of ``variants``, by whose name they are averaged and compared (:mod:`simlm.evaluation.variants`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from simlm.config.graph import GraphError, node_of, references

if TYPE_CHECKING:
    from simlm.config.experiment import Experiment
    from simlm.config.kinds.base import ModelBlock

_OF_SEED = re.compile(r"-s\d+$")


def of_seed(name: str, seed: int) -> str:
    """The node of a system for a seed; a part keeps its own name.

    >>> of_seed("masked", 3), of_seed("joint.retriever", 3)
    ('masked-s3', 'joint-s3.retriever')
    """
    node, dot, part = name.partition(".")
    return f"{node}-s{seed}{dot}{part}"


def as_written(name: str) -> str:
    """The name that a node of a seed has in the file.

    >>> as_written("masked-s3"), as_written("retriever1")
    ('masked', 'retriever1')
    """
    return _OF_SEED.sub("", name)


def with_seeds(experiment: Experiment) -> Experiment:
    """The experiment with a node per seed in the place of every model that has ``seeds`` or is built on one; as it is if none has.

    Raises
    ------
    GraphError
        If a model has other seeds than what it is built on, or the name of a node is taken.
    """
    seeds = _seeds_of(experiment)
    if not seeds:
        return experiment
    models: dict[str, ModelBlock] = {}
    for name, model in experiment.models.items():
        if name not in seeds:
            models[name] = model
        for seed in seeds.get(name, ()):
            if (node := of_seed(name, seed)) in experiment.models:
                raise GraphError(("models", node), f"this is the name of what 'seeds' makes of '{name}'; choose another")
            models[node] = _node(model, seeds, seed)
    evaluate, variants, systems = experiment.evaluate, dict(experiment.variants), []
    for system in evaluate.systems:
        nodes = [of_seed(system, seed) for seed in seeds.get(node_of(system), ())]
        systems += nodes or [system]
        if nodes:
            variants[system] = nodes
    if node_of(evaluate.baseline) in seeds:
        node = of_seed(evaluate.baseline, seeds[node_of(evaluate.baseline)][0])
        raise GraphError(("evaluate", "baseline"), f"'{evaluate.baseline}' has a node per seed; name one of them, such as {node}")
    return experiment.model_copy(update={"models": models, "evaluate": evaluate.model_copy(update={"systems": systems}), "variants": variants})


def _seeds_of(experiment: Experiment) -> dict[str, list[int]]:
    """Model → its seeds, its own or those of what it is built on."""
    found = {name: list(own) for name, model in experiment.models.items() if (own := getattr(model, "seeds", None))}
    waiting = list(found)
    while waiting:
        source = waiting.pop()
        for name, model in experiment.models.items():
            if source not in map(node_of, references(model).values()) or name == source:
                continue
            if found.setdefault(name, found[source]) != found[source]:
                raise GraphError(
                    ("models", name),
                    f"it has the seeds {found[name]}, but '{source}', on which it is built, {found[source]}; give them to one of the two",
                )
            if found[name] is found[source] and name not in waiting:
                waiting.append(name)
    return found


def _node(model: ModelBlock, seeds: dict[str, list[int]], seed: int) -> ModelBlock:
    """The block of one seed: references to what has nodes of its own are those of the same seed."""

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(one) for one in value]
        return of_seed(value, seed) if isinstance(value, str) and node_of(value) in seeds else value

    fields = {field.partition("[")[0] for field in references(model)} & set(type(model).model_fields)
    changed: dict[str, Any] = {field: named(getattr(model, field)) for field in fields}
    if "seeds" in type(model).model_fields:
        changed |= {"seeds": None} | ({"seed": seed} if getattr(model, "seed", None) is None else {})
    return model.model_copy(update=changed)
