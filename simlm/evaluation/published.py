"""Published figures for the corpus of an experiment, from ``config/published.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from simlm.config.corpora import HubDataset, IrDatasets
from simlm.config.experiment import Experiment
from simlm.errors import UserError

FILE = Path(__file__).resolve().parents[2] / "config" / "published.yaml"

MS_MARCO = {"msmarco-passage", "tevatron/msmarco-passage-corpus", "tevatron/msmarco-passage", "beir/msmarco", "mteb/msmarco"}
"""ir_datasets and Hugging Face ids (lower case) of the MS MARCO passage collection."""


@dataclass(frozen=True)
class Published:
    """One published figure.

    Attributes
    ----------
    system
        The system's name in print.
    split
        Split of the experiment.
    metric
        ir-measures name.
    value
        Fraction between 0 and 1.
    source
        Where it is printed.
    titles
        ``rocketqa`` or ``none``: the form of the passages.
    counterpart
        The system of this project's graphs that it corresponds to, or None.
    """

    system: str
    split: str
    metric: str
    value: float
    source: str
    titles: str
    counterpart: str | None


def is_ms_marco(experiment: Experiment) -> bool:
    """Whether the corpus is the whole MS MARCO passage collection; figures on a part of it cannot be compared."""
    corpus = experiment.corpus
    name = corpus.passages if isinstance(corpus, IrDatasets) else corpus.id if isinstance(corpus, HubDataset) else ""
    return name.lower() in MS_MARCO and corpus.max_passages is None


def published_for(experiment: Experiment) -> list[Published]:
    """Figures on the evaluated splits of an experiment; none unless its corpus is MS MARCO passage and the split whole."""
    if not is_ms_marco(experiment):
        return []
    content = load_published()
    figures = []
    for split in experiment.evaluate.splits:
        known = _known_split(experiment, split, content["splits"])
        if known is None or split in experiment.corpus.max_queries:
            continue
        for entry in content["systems"]:
            for metric, value in entry["metrics"].get(known, {}).items():
                figures.append(Published(entry["system"], split, metric, value, content["sources"][entry["source"]], entry["titles"], entry.get("counterpart")))
    return figures


@cache
def load_published() -> dict[str, Any]:
    """The content of ``config/published.yaml``."""
    try:
        return yaml.safe_load(FILE.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{FILE} cannot be read ({error}); restore it from the repository") from None


def _known_split(experiment: Experiment, split: str, known: dict[str, Any]) -> str | None:
    corpus = experiment.corpus
    if isinstance(corpus, IrDatasets):
        return next((name for name, facts in known.items() if corpus.splits.get(split) == facts["ir_datasets"]), None)
    return next((name for name, facts in known.items() if split in facts["names"]), None)
