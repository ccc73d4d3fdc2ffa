"""The command of a stage, made from its function: every parameter is an option, explained by the text beside its type."""

from __future__ import annotations

import argparse
import inspect
import types
import typing
from collections.abc import Iterator
from typing import Any

from simlm.commands.options import add_experiment_options, load_context
from simlm.context import Context
from simlm.errors import UserError, nearest


class StageCommand:
    """What :mod:`simlm.cli` calls of a command, for the stage in the module ``simlm.stages.<name>``."""

    def __init__(self, module: types.ModuleType) -> None:
        self.stage = module.__name__.rpartition(".")[2]
        self.function = getattr(module, self.stage)
        self.__doc__ = module.__doc__

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_experiment_options(parser)
        for name, flag, options in _options(self.function):
            parser.add_argument(flag, dest=name, **options)

    def run(self, arguments: argparse.Namespace) -> int | None:
        context = load_context(arguments)
        given = {name: getattr(arguments, name) for name, _, _ in _options(self.function)}
        if "name" in given:
            check_name(context, self.stage, given["name"])
        return self.function(context, **given)


def _options(function: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(parameter, flag, how argparse takes it) for all parameters but the context; ``name`` is ``--model``."""
    hints = typing.get_type_hints(function, include_extras=True)
    for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
        kind, text = hints[name].__origin__, hints[name].__metadata__[0]
        options: dict[str, Any] = {"help": text, "default": parameter.default, "required": parameter.default is parameter.empty}
        plain = next(one for one in (*typing.get_args(kind), kind) if one is not types.NoneType) if isinstance(kind, types.UnionType) else kind
        if plain is bool:
            options["action"] = "store_true"
        elif typing.get_origin(plain) is list:
            options |= {"nargs": "+", "metavar": name.upper().removesuffix("S")}
        else:
            options |= {"type": plain, "metavar": "N" if plain is int else "NAME"}
        yield name, "--model" if name == "name" else "--" + name.replace("_", "-"), options


def check_name(context: Context, stage: str, name: str) -> None:
    """Refuse a system that a stage cannot be run for.

    Raises
    ------
    UserError
        With the nearest name, or those that the stage takes.
    """
    from simlm.config.jobs import names_of

    systems, able = context.experiment.systems, names_of(context.experiment, stage)
    if name not in systems:
        raise UserError(f"no model of '{context.experiment.name}' is called '{name}'{nearest(name, able or systems)}")
    if name not in able:
        there = f"it takes {', '.join(able)}" if able else "this experiment has none for it"
        raise UserError(f"'{name}' is of kind {systems[name].kind}, which {stage.replace('_', '-')} does not take; {there}")
