"""The few numbers that a run of a whole configuration is compared by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from simlm.config import Experiment
from simlm.config.graph import headline_system
from simlm.config.metrics import spoken_metric
from simlm.errors import UserError
from simlm.evaluation.numbers import figure
from simlm.files import read_json
from simlm.tracking.names import mlflow_name

if TYPE_CHECKING:
    from simlm.evaluation.compare import MetricRow


def headline_metrics(experiment: Experiment, rows: list[MetricRow]) -> dict[str, float]:
    """MLflow metrics of the parent run.

    ``test/distilled/mrr_10`` for every system, the plain ``test/mrr_10`` of the headline system, so that MLflow's
    run table compares configurations whose systems have other names, and its ratio to the baseline.
    """
    chosen, base = headline_system(experiment), experiment.evaluate.baseline
    values: dict[str, float] = {}
    for row in rows:
        values[f"{row.split}/{row.system}/{mlflow_name(row.metric)}"] = row.value
        if row.system == chosen:
            values[f"{row.split}/{mlflow_name(row.metric)}"] = row.value
    table = {(row.system, row.split, row.metric): row.value for row in rows}
    split, metric = experiment.evaluate.main_split, experiment.evaluate.main_metric
    ours, theirs = table.get((chosen, split, metric)), table.get((base, split, metric))
    if ours is not None and theirs:
        values[f"{split}/{mlflow_name(metric)}_ratio_to_{base}"] = ours / theirs
    return values


def metrics_of_systems(rows: list[MetricRow]) -> dict[str, dict[str, float]]:
    """System → MLflow key → value, for the runs of the stages that made the systems."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row.system, {})[f"{row.split}/{mlflow_name(row.metric)}"] = row.value
    return found


def pair_tags(experiment: Experiment, file: Path) -> dict[str, str]:
    """MLflow tags of the parent run: the headline system against every other, ``simlm.pair.distilled.bm25``; none before there is a report.

    ``file`` is ``Paths.pairs``, which is stored whole beside the report and has all pairs, with the settings in which they differ.
    """
    if not file.exists():
        return {}
    chosen = headline_system(experiment)
    try:
        found = [(pair["system"], pair["against"], pair["text"]) for pair in read_json(file, "simlm report")["pairs"]]
    except (KeyError, TypeError):
        raise UserError(f"{file} is truncated or foreign; delete it and run simlm report again") from None
    return {f"simlm.pair.{system}.{against}": text for system, against, text in found if chosen in (system, against)}


def description(experiment: Experiment, rows: list[MetricRow]) -> str:
    """Markdown for the parent run's page: systems × metrics on the main split."""
    split, metrics = experiment.evaluate.main_split, experiment.evaluate.metrics
    table = {(row.system, row.metric): row.value for row in rows if row.split == split}
    if not table:
        return f"Experiment **{experiment.name}**; nothing has been evaluated yet."
    lines = [
        f"Experiment **{experiment.name}**, split `{split}`:",
        "",
        f"| system | {' | '.join(map(spoken_metric, metrics))} |",
        "|---|" + "---:|" * len(metrics),
    ]
    for system in experiment.evaluate.systems:
        cells = [figure(table[system, metric]) if (system, metric) in table else "–" for metric in metrics]
        lines.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(lines)


VIEW = "simlm"
"""Key of the view that MLflow's run table opens with from `simlm ui`."""


def shared_view(experiment: Experiment) -> dict[str, str]:
    """MLflow experiment tag that makes a view with the headline columns (MLflow's own "share" of a view).

    Without it the run table shows no metric at all.
    """
    import json

    evaluate = experiment.evaluate
    columns = ["attributes.`Duration`", *(f"metrics.`{evaluate.main_split}/{mlflow_name(metric)}`" for metric in evaluate.metrics)]
    columns += [f"metrics.`{evaluate.main_split}/{mlflow_name(evaluate.main_metric)}_ratio_to_{evaluate.baseline}`", "metrics.`system/seconds`"]
    return {f"mlflow.sharedViewState.{VIEW}": json.dumps({"selectedColumns": columns})}
