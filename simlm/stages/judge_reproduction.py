"""Compare an experiment's figures with published ones: OK, OKish, FAIL, or not comparable (with the reason).

    simlm judge-reproduction --config config/released.yaml
    simlm judge-reproduction --experiment released --gate      # exit code 1 if a figure FAILs

Figures, sources and tolerances are in config/published.yaml; the verdicts go to results/<name>/reproduction.tsv.
"""

from __future__ import annotations

from typing import Annotated

from simlm.context import Context


def judge_reproduction(context: Context, gate: Annotated[bool, "exit code 1 if any figure FAILs"] = False) -> int:
    """Write ``reproduction.tsv`` and the record, print the verdicts; the exit code comes last."""
    from simlm.evaluation.compare import MetricRow, read_rows, write_rows
    from simlm.evaluation.gate import NOT_COMPARABLE, Verdict, counts, tell, verdicts
    from simlm.files import read_json

    experiment, paths = context.experiment, context.paths
    with context.record("judge_reproduction") as record:
        manifest = read_json(paths.corpus / "manifest.json", "simlm prepare-corpus")
        lines = verdicts(experiment, read_rows(paths.metrics_table, MetricRow), manifest)
        write_rows(paths.reproduction, lines, Verdict)
        record.outputs["reproduction"] = paths.reproduction
        record.metrics = {f"{line.split}/{line.system}/{line.metric}_minus_published": line.difference for line in lines if line.verdict != NOT_COMPARABLE}
        record.metrics |= {f"cells/{word.replace(' ', '_')}": count for word, count in counts(lines).items()}
        record.notes["verdicts"] = {f"{line.split}/{line.system}/{line.metric}": line.verdict for line in lines}
    return tell(lines, fail=gate)
