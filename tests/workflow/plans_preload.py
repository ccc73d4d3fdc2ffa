"""What every plan asks for and is the same for all, asked once before the forks of ``plans.py``: the fingerprints of the code."""

from __future__ import annotations

from pathlib import Path

from simlm.config import load_experiment
from simlm.config.inputs import planned
from simlm.paths import Paths

planned(load_experiment(Path(__file__).resolve().parents[2] / "config" / "smoke.yaml"), Paths(Path("nowhere")))
