"""One table over all collections, and each result as MTEB keeps it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simlm.config.kinds.bm25 import LEXICAL
from simlm.config.metrics import spoken_metric
from simlm.context import Context
from simlm.evaluation.compare import read_comparisons, read_metrics
from simlm.evaluation.numbers import figure, p_text, signed
from simlm.evaluation.table import columns
from simlm.files import write_json, write_text
from simlm.judging.collections import MAIN, slug
from simlm.models.manifest import read_manifest

MTEB_NAMES = {
    "arguana": "ArguAna", "climate-fever": "ClimateFEVER", "dbpedia-entity": "DBPedia", "fever": "FEVER", "fiqa": "FiQA2018", "hotpotqa": "HotpotQA",
    "msmarco": "MSMARCO", "nfcorpus": "NFCorpus", "nq": "NQ", "quora": "QuoraRetrieval", "scidocs": "SCIDOCS", "scifact": "SciFact",
    "trec-covid": "TRECCOVID", "webis-touche2020": "Touche2020", "touche2020": "Touche2020",
}  # fmt: skip
"""Collections of BEIR and what MTEB calls their tasks."""

SPOKEN = {"nDCG": "ndcg", "RR": "mrr", "R": "recall", "AP": "map", "P": "precision"}
"""Measures and what MTEB calls them."""


@dataclass(frozen=True)
class Judged:
    """A collection that was judged."""

    collection: str
    context: Context
    system: str

    def values(self, system: str) -> dict[str, float]:
        """Metric → average on the split."""
        return {row.metric: row.value for row in read_metrics(self.context.paths.metrics_table) if row.system == system}

    @property
    def queries(self) -> int:
        return read_metrics(self.context.paths.metrics_table)[0].n_queries

    @property
    def p(self) -> float | None:
        """Holm-corrected p-value of the difference from BM25 in the main metric."""
        rows = read_comparisons(self.context.paths.comparisons)
        return next((row.p_holm for row in rows if {row.system, row.against} == {self.system, LEXICAL} and row.metric == MAIN), None)


def table(judged: list[Judged]) -> list[list[str]]:
    """Heads and cells: a collection a row, the means of several at the end."""
    spoken = spoken_metric(MAIN)
    lines = [["collection", "queries", f"BM25 {spoken}", f"{judged[0].system} {spoken}", "difference", "p (Holm)", "R@100"]]
    rows = []
    for one in judged:
        bm25, own = one.values(LEXICAL), one.values(one.system)
        rows.append((bm25[MAIN], own[MAIN], own["R@100"]))
        p = p_text(one.p) if one.p is not None else "–"
        lines.append([one.collection, f"{one.queries:,}", figure(bm25[MAIN]), figure(own[MAIN]), signed(own[MAIN] - bm25[MAIN]), p, figure(own["R@100"])])
    if len(rows) > 1:
        bm25, own, recall = (sum(values) / len(rows) for values in zip(*rows))
        lines.append([f"mean of {len(rows)}", "", figure(bm25), figure(own), signed(own - bm25), "", figure(recall)])
    return lines


def write_tables(judged: list[Judged], folder: Path) -> str:
    """Write ``judged.md`` and ``judged.tsv`` and a file for MTEB per collection; returns the table for a terminal."""
    lines = table(judged)
    write_text(folder / "judged.tsv", "".join("\t".join(line) + "\n" for line in lines))
    markdown = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    write_text(folder / "judged.md", "\n".join([markdown[0], "|---|" + "---:|" * (len(lines[0]) - 1), *markdown[1:]]) + "\n")
    for one in judged:
        revision = read_manifest(one.context.paths.model(one.system))["weights"]["sha256"][:40]
        write_json(folder / "mteb" / one.system / revision / f"{task_name(one.collection)}.json", mteb_result(one))
    return columns(lines)


def task_name(collection: str) -> str:
    """What MTEB calls a collection; another collection keeps its name.

    >>> task_name("beir/nfcorpus"), task_name("BeIR/scifact"), task_name("beir/cqadupstack/android"), task_name("data/mine")
    ('NFCorpus', 'SciFact', 'CQADupstackAndroidRetrieval', 'data-mine')
    """
    parts = [part for part in re.split(r"[/\\]", collection.lower()) if part not in ("", ".", "test", "dev", "train")]
    if "cqadupstack" in parts[:-1]:
        return f"CQADupstack{parts[-1].capitalize()}Retrieval"
    return MTEB_NAMES.get(parts[-1] if parts else "", "") or slug(collection)


def mteb_result(judged: Judged) -> dict[str, Any]:
    """A result in the form of MTEB's files (``results/<model>/<revision>/<task>.json``, from version 1.11 on)."""
    (split,) = judged.context.experiment.evaluate.splits
    scores = {_mteb_metric(name): round(value, 5) for name, value in judged.values(judged.system).items()}
    entry = {"hf_subset": "default", "languages": [], "main_score": scores[_mteb_metric(MAIN)], **scores}
    about = {"task_name": task_name(judged.collection), "dataset_revision": str(judged.context.experiment.corpus.model_dump().get("revision") or "")}
    return {**about, "mteb_version": None, "evaluation_time": None, "kg_co2_emissions": None, "scores": {split: [entry]}}


def _mteb_metric(name: str) -> str:
    measure, _, depth = name.partition("@")
    return f"{SPOKEN.get(measure, measure.lower())}_at_{depth}"
