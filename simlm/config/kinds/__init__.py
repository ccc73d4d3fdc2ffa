"""The kinds of models a graph may hold: those that the files of this folder define, and those of the modules in ``SIMLM_KINDS``.

A kind is a subclass of :class:`~simlm.config.kinds.base.ModelBlock` with ``kind: Literal["its_name"]``. A new one is a file
here, or a module elsewhere that the variable names (several are separated by commas); whatever needs to know what a model is asks its block.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Union, get_args

from pydantic import Field

from simlm.config.kinds.base import ModelBlock, System, Training
from simlm.errors import UserError

VARIABLE = "SIMLM_KINDS"


def name_of(kind: type[ModelBlock]) -> str | None:
    """The name of a kind in a configuration, or None for a class that several kinds share."""
    return next(iter(get_args(kind.model_fields["kind"].annotation)), None)


def _import_all() -> None:
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    for name in filter(None, os.environ.get(VARIABLE, "").split(",")):
        try:
            import_module(name)
        except ImportError as error:
            raise UserError(f"{VARIABLE} names the module '{name}', which cannot be imported ({error}); correct it or put its folder on PYTHONPATH") from None


def _kinds_below(block: type[ModelBlock]) -> Iterator[type[ModelBlock]]:
    for kind in block.__subclasses__():
        if name_of(kind):
            yield kind
        yield from _kinds_below(kind)


_import_all()
KINDS: tuple[type[ModelBlock], ...] = tuple(sorted(_kinds_below(ModelBlock), key=lambda kind: str(name_of(kind))))
Model = Annotated[Union[KINDS], Field(discriminator="kind")]  # noqa: UP007 (of a tuple)

# Each can be imported from here by its name.
globals().update({kind.__name__: kind for kind in KINDS})

__all__ = ["KINDS", "Model", "ModelBlock", "System", "Training", "name_of"]
