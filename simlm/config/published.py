"""Published figures for the corpus of an experiment, from ``config/published.yaml`` or, for Natural Questions, ``config/published-nq.yaml``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from simlm.config.corpora import HubDataset, IrDatasets
from simlm.config.experiment import Experiment
from simlm.errors import UserError

FILE = Path(__file__).resolve().parents[2] / "config" / "published.yaml"
NATURAL_QUESTIONS = FILE.with_name("published-nq.yaml")

COLLECTIONS = {
    "msmarco-passage": (FILE, "none"),
    "tevatron/msmarco-passage-corpus": (FILE, "rocketqa"),
    "tevatron/msmarco-passage": (FILE, "rocketqa"),
    "beir/msmarco": (FILE, "none"),
    "mteb/msmarco": (FILE, "none"),
    "dpr-w100": (NATURAL_QUESTIONS, "wikipedia"),
}
"""ir_datasets and Hugging Face ids (lower case) of collections that figures are published of → their file, and the titles that the collection comes with."""


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
        ``rocketqa``, ``wikipedia`` or ``none``: the form of the passages.
    counterpart
        The system of this project's graphs that it corresponds to, or None.
    tolerances
        Origin (see :data:`~simlm.config.kinds.base.Origin`) → largest difference that counts as reproduced; origins that it does not judge are absent.
    queries
        Judged queries of the split in print.
    """

    system: str
    split: str
    metric: str
    value: float
    source: str
    titles: str
    counterpart: str | None
    tolerances: dict[str, float] = field(default_factory=dict)
    queries: int | None = None


def _collection(experiment: Experiment) -> str:
    corpus = experiment.corpus
    return (corpus.passages if isinstance(corpus, IrDatasets) else corpus.id if isinstance(corpus, HubDataset) else "").lower()


def published_for(experiment: Experiment) -> list[Published]:
    """Figures on the evaluated splits of an experiment; none unless its corpus is a whole collection that has any, and the split whole."""
    if _collection(experiment) not in COLLECTIONS or experiment.corpus.max_passages is not None:
        return []
    return [one for one in _figures(experiment) if one.split not in experiment.corpus.max_queries]


def counterparts(experiment: Experiment) -> list[tuple[str, Published]]:
    """(system, figure) for every figure that a system of the experiment is judged by, whether or not it can be compared.

    A system's metric on a split is judged by one figure: the first of the file that judges systems of its origin.
    """
    if _collection(experiment) not in COLLECTIONS:
        return []
    found: dict[tuple[str, str, str], tuple[str, Published]] = {}
    for figure in _figures(experiment):
        system = figure.counterpart
        if system in experiment.evaluate.systems and figure.metric in experiment.evaluate.metrics and origin_of(experiment, system) in figure.tolerances:
            found.setdefault((system, figure.split, figure.metric), (system, figure))
    order = experiment.evaluate.systems
    return sorted(found.values(), key=lambda pair: order.index(pair[0]))


def origin_of(experiment: Experiment, system: str) -> str:
    """Where a system comes from, one of :data:`~simlm.config.kinds.base.Origin`."""
    return experiment.system(system).origin


def titles_of(experiment: Experiment, system: str) -> str:
    """The titles of the passages that a system reads: ``rocketqa``, those of the collection, or ``none``."""
    if not experiment.system(system).reads_titles():
        return "none"
    corpus = experiment.corpus
    return "rocketqa" if isinstance(corpus, IrDatasets) and corpus.titles == "rocketqa" else COLLECTIONS.get(_collection(experiment), (FILE, "none"))[1]


def _figures(experiment: Experiment) -> Iterator[Published]:
    content = load_published(published_file(experiment))
    for split in experiment.evaluate.splits:
        known = _known_split(experiment, split, content["splits"])
        if known is None:
            continue
        for entry in content["systems"]:
            for metric, value in entry["metrics"].get(known, {}).items():
                yield Published(
                    entry["system"],
                    split,
                    metric,
                    value,
                    content["sources"][entry["source"]],
                    entry["titles"],
                    entry.get("counterpart"),
                    {origin: tolerance(content, entry, origin, known, metric) for origin in entry.get("judges", [])},
                    content["splits"][known]["queries"],
                )


def tolerance(content: dict[str, Any], entry: dict[str, Any], origin: str, split: str, metric: str) -> float:
    """Largest difference that counts as reproduced, for systems of an origin, on a split as the file calls it.

    The published system's own ``tolerances`` go before those of the whole file.

    Raises
    ------
    UserError
        If the file has none.
    """
    own = entry.get("tolerances", {}).get(origin, {}).get(split, {}).get(metric)
    try:
        return float(content["tolerances"][origin][split][metric] if own is None else own)
    except (KeyError, TypeError, ValueError):
        raise UserError(f"the file of published figures has no number at tolerances.{origin}.{split}.{metric}; add one") from None


def published_file(experiment: Experiment) -> Path:
    """The file of published figures that an experiment is compared with: its own, or the one of its collection."""
    return Path(experiment.gate.published).expanduser() if experiment.gate.published else COLLECTIONS.get(_collection(experiment), (FILE, "none"))[0]


@cache
def load_published(file: Path = FILE) -> dict[str, Any]:
    """The content of a file of published figures.

    Raises
    ------
    UserError
        If it cannot be read or lacks a block.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{file} cannot be read ({error}); restore it from the repository, or correct gate.published") from None
    missing = {"collection", "splits", "sources", "tolerances", "systems"} - set(content if isinstance(content, dict) else ())
    if missing:
        raise UserError(f"{file} lacks {', '.join(sorted(missing))}; take config/published.yaml as the pattern")
    return content


def _known_split(experiment: Experiment, split: str, known: dict[str, Any]) -> str | None:
    corpus = experiment.corpus
    if isinstance(corpus, IrDatasets):
        # Questions are known by the name of their file, wherever it lies.
        source = corpus.splits.get(split) or corpus.questions.get(split, "").rpartition("/")[2]
        return next((name for name, facts in known.items() if source == facts["ir_datasets"]), None)
    return next((name for name, facts in known.items() if split in facts["names"]), None)
