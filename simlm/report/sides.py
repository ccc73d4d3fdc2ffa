"""A system of an experiment, and the settings in which two of them differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simlm.config.load import resolved
from simlm.context import Context

NOT_SET = "–"

SAID_BY_NAME = ("name", "results", "tracking")
"""Blocks of a configuration that no figure depends on."""


@dataclass(frozen=True)
class Side:
    """A system of an experiment."""

    context: Context
    system: str

    @property
    def name(self) -> str:
        """How it was asked for."""
        return f"{self.context.experiment.name}/{self.system}"


def differing_settings(first: Side, second: Side) -> list[tuple[str, str, str]]:
    """(setting, of the first, of the second) wherever the two differ: of the systems themselves, then of the experiments and the models they share.

    Two systems of one experiment share all of that. What says how a system is computed and not what (devices, threads) is left out of the first.
    """
    prefix = first.system if first.system == second.system else "system"
    blocks = [side.context.experiment.system(side.system) for side in (first, second)]
    own = [block.model_dump(mode="json", exclude=set(block.how_not_what)) for block in blocks]
    found = _differing(*(_flat(block, f"{prefix}.") for block in own))
    if first.context.paths == second.context.paths:
        return found
    whole = []
    for side in (first, second):
        values = _plain(side.context)
        values["models"] = {name: block for name, block in values.get("models", {}).items() if name != side.system}
        whole.append(_flat({key: value for key, value in values.items() if key not in SAID_BY_NAME}))
    return found + _differing(*whole)


def _plain(context: Context) -> dict[str, Any]:
    import yaml

    return yaml.safe_load(resolved(context.experiment))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) and value else {name: NOT_SET if value is None else str(value)}
    return flat


def _differing(one: dict[str, str], other: dict[str, str]) -> list[tuple[str, str, str]]:
    """A setting that only one side has is absent on the other; one that is not set on either is no difference.

    >>> _differing({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"})
    [('b', '2', '3'), ('c', 'absent', '4')]
    """
    keys = dict.fromkeys([*one, *other])
    return [(key, one.get(key, "absent"), other.get(key, "absent")) for key in keys if one.get(key, NOT_SET) != other.get(key, NOT_SET)]
