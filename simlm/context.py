"""An experiment and its files: what every stage is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simlm.config import Experiment
    from simlm.paths import Paths


@dataclass(frozen=True)
class Context:
    """An experiment and its files."""

    experiment: Experiment
    paths: Paths
