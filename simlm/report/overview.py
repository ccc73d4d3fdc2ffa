"""All experiments side by side, corpus by corpus, read from their files; published numbers beside them where they apply."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from simlm.config import load_experiment
from simlm.config.metrics import spoken_metric
from simlm.context import Context
from simlm.errors import UserError, nearest
from simlm.evaluation.compare import MetricRow, read_metrics
from simlm.evaluation.numbers import figure
from simlm.evaluation.table import columns, fitting
from simlm.files import read_manifest, write_text
from simlm.paths import Paths
from simlm.report.page import published


@dataclass(frozen=True)
class Line:
    """One system of one experiment (or of the literature: ``experiment`` is ``published``) on one split; figures compare within one ``corpus``."""

    experiment: str
    system: str
    split: str
    values: dict[str, float] = field(default_factory=dict)
    queries: int | None = None
    source: str = ""
    corpus: str = ""


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
    """Lines of all experiments corpus by corpus, each experiment's systems in its own order; every published system once.

    Parameters
    ----------
    splits
        Splits to show; default: each experiment's main split.

    Raises
    ------
    UserError
        If no experiment was judged on one of the splits.
    """
    known = dict.fromkeys(split for context in contexts for split in context.experiment.evaluate.splits)
    for split in splits or []:
        if split not in known:
            raise UserError(f"no experiment was judged on the split '{split}'{nearest(split, known)} (there are {', '.join(known)})")
    lines: dict[str, list[Line]] = {}
    literature: dict[str, dict[tuple[str, str], Line]] = {}
    for context in contexts:
        evaluate, corpus = context.experiment.evaluate, corpus_of(context)
        wanted = splits or [evaluate.main_split]
        rows = read_metrics(context.paths.metrics_table)
        for split in wanted:
            for system in evaluate.systems:
                chosen = [row for row in rows if row.system == system and row.split == split]
                if chosen:
                    lines.setdefault(corpus, []).append(_line(context.experiment.name, system, split, chosen, corpus))
        for entry in published(context):
            if entry["split"] in wanted:
                line = Line("published", entry["system"], entry["split"], entry["values"], None, entry["source"], corpus)
                literature.setdefault(corpus, {})[line.split, line.system] = line
    return [line for corpus, own in lines.items() for line in [*own, *literature.get(corpus, {}).values()]]


def corpus_of(context: Context) -> str:
    """A corpus in a few words; two experiments have the same one exactly if these are equal."""
    source, file = context.experiment.corpus.source, context.paths.corpus / "manifest.json"
    if not file.exists():
        return f"{source} (the corpus of {context.experiment.name} is not there)"
    manifest = read_manifest(file, "the manifest of a corpus", "simlm prepare-corpus", {"sha256": str, "passages": dict})
    return f"{source}, {manifest['passages'].get('count', 0):,} passages, sha256 {manifest['sha256'][:12]}"


def _line(experiment: str, system: str, split: str, rows: list[MetricRow], corpus: str) -> Line:
    return Line(experiment, system, split, {row.metric: row.value for row in rows}, rows[0].n_queries, corpus=corpus)


def lines_text(lines: list[Line], width: int | None = None) -> str:
    """The lines as plain text, a table per corpus; ``*`` marks the best own value of a split within it.

    A table that is wider than ``width`` goes on below itself with its other metrics, so that no figure is ever cut.
    """
    blocks = []
    for corpus in dict.fromkeys(line.corpus for line in lines):
        here = [line for line in lines if line.corpus == corpus]
        own = [line for line in here if line.experiment != "published"]
        splits = dict.fromkeys(line.split for line in here)
        names = columns([["experiment", "system", "split"], *([line.experiment, line.system, line.split] for line in here)], left=3).split("\n")
        drawn = []
        for metric in metrics_of(here):
            best = {split: max((line.values[metric] for line in own if line.split == split and metric in line.values), default=None) for split in splits}
            cells = []
            for line in here:
                value = line.values.get(metric)
                first = value is not None and line.experiment != "published" and value == best[line.split] and len(own) > 1
                cells.append(("–" if value is None else figure(value)) + ("*" if first else " "))
            drawn.append([spoken_metric(metric), *cells])
        drawn.append(["queries", *("" if line.queries is None else f"{line.queries:,}" for line in here)])
        wide = max(map(len, names))
        tables = [columns([list(row) for row in zip([name.ljust(wide) for name in names], *some)]) for some in fitting(names, drawn, width)]
        blocks.append("\n\n".join([f"Corpus: {corpus}", *tables]))
    return "\n\n".join(blocks) + "\n\n* best of the experiments on this corpus and split"


def metrics_of(lines: list[Line]) -> list[str]:
    """Names of all metrics, in order of appearance."""
    return list(dict.fromkeys(metric for line in lines for metric in line.values))


def write_overview(lines: list[Line], folder: Path) -> tuple[Path, Path]:
    """Write ``comparison.tsv`` (six decimals) and ``comparison.md`` (four) to ``folder``."""
    metrics = metrics_of(lines)
    header = ["experiment", "system", "split", *metrics, "n_queries", "source", "corpus"]
    table = ["\t".join(header)]
    page = ["| " + " | ".join(map(spoken_metric, header)) + " |", "|---|---|---|" + "---:|" * (len(metrics) + 1) + "---|---|"]
    for line in lines:
        count = "" if line.queries is None else str(line.queries)
        table.append("\t".join([line.experiment, line.system, line.split, *(_number(line, metric, 6) for metric in metrics), count, line.source, line.corpus]))
        cells = [line.experiment, line.system, line.split, *(_number(line, metric, 4) or "–" for metric in metrics), count, line.source, line.corpus]
        page.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    paths = folder / "comparison.tsv", folder / "comparison.md"
    write_text(paths[0], "\n".join(table) + "\n")
    write_text(paths[1], "\n".join(page) + "\n")
    return paths


def _number(line: Line, metric: str, decimals: int) -> str:
    return figure(line.values[metric], decimals) if metric in line.values else ""
