"""A configuration as YAML in which every choice says why."""

from __future__ import annotations

import textwrap
from typing import Any, NamedTuple

import yaml

WIDTH = 120


class Said(NamedTuple):
    """A value, and why it was chosen."""

    value: Any
    why: str


def plain(value: Any) -> Any:
    """The values alone.

    >>> plain({"a": Said({"b": Said(1, "because")}, "one")})
    {'a': {'b': 1}}
    """
    if isinstance(value, Said):
        return plain(value.value)
    return {key: plain(part) for key, part in value.items()} if isinstance(value, dict) else value


def render(block: dict[str, Any], indent: int = 0) -> str:
    """YAML of a block, each reason as a comment before its key.

    >>> print(render({"models": {"first": Said({"epochs": Said(3, "few queries")}, "the retriever")}, "name": "x"}), end="")
    models:
      # The retriever.
      first:
        # Few queries.
        epochs: 3
    name: x
    """
    lines = []
    for key, given in block.items():
        value, why = given if isinstance(given, Said) else (given, "")
        margin = " " * indent
        if why:
            sentence = why[0].upper() + why[1:] + ("" if why.endswith((".", ":")) else ".")
            lines += [f"{margin}# {line}" for line in textwrap.wrap(sentence, WIDTH - indent - 2, break_long_words=False, break_on_hyphens=False)]
        if isinstance(value, dict) and value and any(isinstance(part, Said | dict) for part in value.values()):
            lines += [f"{margin}{key}:", render(value, indent + 2).rstrip("\n")]
        else:
            lines.append(f"{margin}{key}: {_scalar(value)}")
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str:
    if isinstance(value, float) and 0 < abs(value) < 1e-3:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True).removesuffix("\n...\n").rstrip("\n")
