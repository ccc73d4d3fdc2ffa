"""Checkpoint files that cannot be written or read, as one sentence.

transformers reads optimiser, scheduler and random state with ``weights_only=True`` and the weights are safetensors, so
that a checkpoint from elsewhere cannot run code; what is refused or torn ends here.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from simlm.errors import UserError

_DAMAGED = (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, AttributeError, pickle.UnpicklingError, SafetensorError)


class ClearCheckpointErrors:
    """Put before ``Trainer`` among the bases of a class."""

    def _save_checkpoint(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super()._save_checkpoint(*arguments, **options)
        except (OSError, RuntimeError, SafetensorError) as error:
            place = self.args.output_dir
            raise UserError(
                f"{place}: a checkpoint cannot be written ({_reason(error)}); free space and run the command again, it goes on from the last whole one"
            ) from error

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> Any:
        with _reading(checkpoint):
            return super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> Any:
        with _reading(checkpoint):
            return super()._load_rng_state(checkpoint)


@contextmanager
def _reading(checkpoint: str | None) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        if checkpoint is None:
            raise
        folder = Path(checkpoint)
        raise UserError(
            f"{folder} is damaged or foreign ({_reason(error)}); delete it and run the command again, training goes on from the one before it or anew"
        ) from error


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.split(". ")[0][:200]
