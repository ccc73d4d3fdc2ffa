"""Compare an experiment's figures with published ones: OK, OKish, FAIL, or not comparable (with the reason).

    simlm judge-reproduction --config config/released.yaml
    simlm judge-reproduction --experiment released --gate      # exit code 1 if a figure FAILs

Figures, sources and tolerances are in config/published.yaml; the verdicts go to results/<name>/reproduction.tsv.
"""

from __future__ import annotations

import argparse

from simlm.commands.options import add_experiment_options, load_context
from simlm.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment_options(parser)
    parser.add_argument("--gate", action="store_true", help="exit code 1 if any figure FAILs")
    parser.add_argument("--only-read", action="store_true", help="read the verdicts that are there instead of judging again")


def run(arguments: argparse.Namespace) -> int:
    """Judge, write, print; the exit code comes last."""
    from simlm.evaluation import gate
    from simlm.evaluation.compare import read_rows

    context = load_context(arguments)
    lines = read_rows(context.paths.reproduction, gate.Verdict) if arguments.only_read else judge(context)
    if lines:
        print(gate.text_table(lines))
    print(f"Against published figures: {gate.summary(lines)}.")
    return 1 if arguments.gate and gate.counts(lines)[gate.FAIL] else 0


def judge(context: Context) -> list:
    """Write ``reproduction.tsv`` and the record; returns the verdicts."""
    from simlm.config.published import published_file
    from simlm.config.stages import settings_of
    from simlm.evaluation import gate
    from simlm.evaluation.compare import MetricRow, read_rows, write_rows
    from simlm.files import read_json
    from simlm.records.record import StageRecord

    experiment, paths = context.experiment, context.paths
    stage = "judge_reproduction"
    inputs = {"corpus": paths.corpus / "manifest.json", "metrics": paths.metrics_table, "published": published_file(experiment)}
    with StageRecord(paths.record(stage), stage, settings_of(experiment, stage), inputs) as record:
        manifest = read_json(paths.corpus / "manifest.json", "simlm prepare-corpus")
        lines = gate.verdicts(experiment, read_rows(paths.metrics_table, MetricRow), manifest)
        write_rows(paths.reproduction, lines, gate.Verdict)
        record.outputs["reproduction"] = paths.reproduction
        record.metrics = {f"{line.split}/{line.system}/{line.metric}_minus_published": line.difference for line in lines if line.verdict != gate.NOT_COMPARABLE}
        record.metrics |= {f"cells/{word.replace(' ', '_')}": count for word, count in gate.counts(lines).items()}
        record.notes["verdicts"] = {f"{line.split}/{line.system}/{line.metric}": line.verdict for line in lines}
    return lines
