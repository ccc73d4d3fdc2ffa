"""Fail if a figure was not reproduced; the workflow asks last of all, when everything else is written.

    simlm enforce-gate --config config/released.yaml

The verdicts that are there are read; `simlm judge-reproduction --gate` judges first.
"""

from __future__ import annotations

from simlm.context import Context


def enforce_gate(context: Context) -> int:
    """Exit code 1 if the verdicts hold a FAIL."""
    from simlm.evaluation import gate
    from simlm.evaluation.compare import read_rows

    return gate.tell(read_rows(context.paths.reproduction, gate.Verdict), fail=True)
