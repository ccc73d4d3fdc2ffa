"""Write the report of an experiment: one HTML file that opens offline.

It reads metrics.tsv, the comparisons, the records, curves and benchmarks of the stages, the runs and the corpus; the
charts are also written as files of their own, to plots/, and so is the table, to results.md, results.tex and results.csv.

    simlm report --config config/config.yaml
    simlm report --experiment pydocs
"""

from __future__ import annotations

from simlm.context import Context


def report(context: Context) -> None:
    """Write the report, the model cards with their metrics, and the record; of an experiment that has not ended, what is there."""
    from simlm.config.inputs import inputs_of
    from simlm.config.jobs import Job
    from simlm.progress import say
    from simlm.report.page import write_report

    paths = context.paths
    there = {name: file for name, file in inputs_of(context.experiment, paths, Job("report")).items() if file.exists()}
    with context.record("report", inputs=there) as record:
        record.outputs["report"] = write_report(context)
        record.notes["model_cards"] = write_cards(context)
    say(f"The report is {paths.report} ({paths.report.stat().st_size / 1024:,.0f} KiB); it opens in any browser, also offline.")


def write_cards(context: Context) -> int:
    """Write the model cards anew, now that the metrics are known; returns their number."""
    from simlm.models.card import write_card

    written = 0
    for name in context.experiment.evaluate.systems:
        if (context.paths.model(name) / "simlm.json").exists():
            write_card(context, name)
            written += 1
    return written
