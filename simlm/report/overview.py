"""All experiments side by side, read from their files; published numbers beside them where they apply."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from simlm.config import load_experiment
from simlm.context import Context
from simlm.errors import UserError
from simlm.evaluation.compare import MetricRow, read_metrics
from simlm.files import write_text
from simlm.paths import Paths
from simlm.report.page import published


@dataclass(frozen=True)
class Line:
    """One system of one experiment (or of the literature: ``experiment`` is ``published``) on one split."""

    experiment: str
    system: str
    split: str
    values: dict[str, float] = field(default_factory=dict)
    queries: int | None = None
    source: str = ""


def read_experiments(results: Path) -> tuple[list[Context], list[str]]:
    """Experiments below ``results`` that have metrics, and one sentence for each that cannot be read.

    Raises
    ------
    UserError
        If there is not a single one.
    """
    contexts, troubles = [], []
    for table in sorted(results.glob("*/metrics.tsv")):
        try:
            context = Context(load_experiment(table.parent / "config.yaml"), Paths(table.parent))
            context.require_belonging()
            contexts.append(context)
        except UserError as error:
            troubles.append(f"{table.parent.name} is left out: {error}")
    if not contexts:
        reason = troubles[0] if troubles else f"no experiment below {results} has a metrics.tsv; run one first (`make all` runs the default)"
        raise UserError(reason)
    return contexts, troubles


def lines_of(contexts: list[Context], splits: list[str] | None = None) -> list[Line]:
    """Lines of all experiments, each experiment's systems in its own order; every published system once.

    Parameters
    ----------
    splits
        Splits to show; default: each experiment's main split.
    """
    lines, literature = [], {}
    for context in contexts:
        evaluate = context.experiment.evaluate
        wanted = splits or [evaluate.main_split]
        rows = read_metrics(context.paths.metrics_table)
        for split in wanted:
            for system in evaluate.systems:
                chosen = [row for row in rows if row.system == system and row.split == split]
                if chosen:
                    lines.append(_line(context.experiment.name, system, split, chosen))
        for entry in published(context):
            if entry["split"] in wanted:
                literature[entry["split"], entry["system"]] = Line("published", entry["system"], entry["split"], entry["values"], None, entry["source"])
    return lines + list(literature.values())


def _line(experiment: str, system: str, split: str, rows: list[MetricRow]) -> Line:
    return Line(experiment, system, split, {row.metric: row.value for row in rows}, rows[0].n_queries)


def metrics_of(lines: list[Line]) -> list[str]:
    """Names of all metrics, in order of appearance."""
    return list(dict.fromkeys(metric for line in lines for metric in line.values))


def write_overview(lines: list[Line], folder: Path) -> tuple[Path, Path]:
    """Write ``comparison.tsv`` (six decimals) and ``comparison.md`` (four) to ``folder``."""
    metrics = metrics_of(lines)
    header = ["experiment", "system", "split", *metrics, "n_queries", "source"]
    table = ["\t".join(header)]
    page = ["| " + " | ".join(header) + " |", "|---|---|---|" + "---:|" * (len(metrics) + 1) + "---|"]
    for line in lines:
        count = "" if line.queries is None else str(line.queries)
        table.append("\t".join([line.experiment, line.system, line.split, *(_number(line, metric, 6) for metric in metrics), count, line.source]))
        cells = [line.experiment, line.system, line.split, *(_number(line, metric, 4) or "–" for metric in metrics), count, line.source]
        page.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    paths = folder / "comparison.tsv", folder / "comparison.md"
    write_text(paths[0], "\n".join(table) + "\n")
    write_text(paths[1], "\n".join(page) + "\n")
    return paths


def _number(line: Line, metric: str, decimals: int) -> str:
    return f"{line.values[metric]:.{decimals}f}" if metric in line.values else ""
