"""Write the report of an experiment: one HTML file that opens offline.

It reads metrics.tsv, the comparisons, the records, curves and benchmarks of the stages, the runs and the corpus; the
charts are also written as files of their own, to plots/.

    simlm report --config config/config.yaml
    simlm report --experiment pydocs
"""

from __future__ import annotations

import argparse

from simlm.commands.options import add_experiment_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment_options(parser)


def run(arguments: argparse.Namespace) -> None:
    from simlm.commands.options import load_context
    from simlm.progress import say
    from simlm.records.record import StageRecord
    from simlm.report.page import write_report

    context = load_context(arguments)
    paths = context.paths
    inputs = {
        name: file
        for name, file in (("metrics", paths.metrics_table), ("comparisons", paths.comparisons), ("reproduction", paths.reproduction))
        if file.exists()
    }
    with StageRecord(paths.record("report"), "report", {}, inputs) as record:
        record.outputs["report"] = write_report(context)
        record.notes["model_cards"] = write_cards(context)
    say(f"The report is {paths.report} ({paths.report.stat().st_size / 1024:,.0f} KiB); it opens in any browser, also offline.")


def write_cards(context) -> int:
    """Write the model cards anew, now that the metrics are known; returns their number."""
    try:
        from simlm.models.card import write_card
    except ImportError:
        return 0
    written = 0
    for name in context.experiment.evaluate.systems:
        if name in context.experiment.models and (context.paths.model(name) / "simlm.json").exists():
            write_card(context, name)
            written += 1
    return written
