"""The plan as text: one line per stage, the sums, and what was assumed."""

from __future__ import annotations

from collections.abc import Sequence

from simlm.config.jobs import jobs
from simlm.config.resources import asked
from simlm.planning.estimate import Estimate, Planner
from simlm.planning.timeline import timeline

HEADER = ("stage", "jobs", "GPU time", "CPU time", "disk", "memory", "done")


def render(planner: Planner, stages: Sequence[Estimate], accelerator: str) -> str:
    """The table and the sentences below it."""
    rows = [_row(stage) for stage in stages]
    rows.append(_total("all stages", stages))
    open_stages = [stage for stage in stages if stage.done < stage.jobs]
    if len(open_stages) < len(stages):
        rows.append(_total("still to run", open_stages))
    widths = [max(len(row[i]) for row in [HEADER, *rows]) for i in range(len(HEADER))]
    lines = ["  ".join(_fit(cell, width, i) for i, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in [HEADER, *rows]]
    lines.insert(1, "-" * max(map(len, lines)))
    lines.insert(2 + len(stages), lines[1])
    return "\n".join([*lines, "", *_notes(planner, accelerator)])


def _fit(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)


def _row(stage: Estimate) -> tuple[str, ...]:
    done = "yes" if stage.done >= stage.jobs else f"{stage.done} of {stage.jobs}" if stage.done else "-"
    return (stage.stage, str(stage.jobs), duration(stage.accelerator), duration(stage.cpu), size(stage.disk), size(stage.memory), done)


def _total(name: str, stages: Sequence[Estimate]) -> tuple[str, ...]:
    jobs, accelerator, cpu, disk = (sum(getattr(stage, field) for stage in stages) for field in ("jobs", "accelerator", "cpu", "disk"))
    return (name, str(jobs), duration(accelerator), duration(cpu), size(disk), size(max((stage.memory for stage in stages), default=0)), "")


def duration(seconds: float) -> str:
    """Time of one core or one GPU, in the unit that fits.

    >>> [duration(seconds) for seconds in (0, 0.2, 5, 400, 40_000, 1e7)]
    ['-', '< 1 s', '5 s', '7 min', '11 h', '2,778 h']
    """
    if not seconds:
        return "-"
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 1 else "< 1 s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h" if seconds < 36_000 else f"{seconds / 3600:,.0f} h"


def size(value: float) -> str:
    """Bytes for people.

    >>> size(90 * 2**20), size(27e9), size(10)
    ('90 MiB', '25 GiB', '< 1 MiB')
    """
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if value >= unit:
            return f"{value / unit:.1f} {name}" if value < 10 * unit and unit > 2**20 else f"{value / unit:,.0f} {name}"
    return "< 1 MiB"


def wall_sentence(planner: Planner, cores: int, gpus: int | None = None) -> str:
    """Time from the first job to the last on a machine, and what of it no further core or GPU would save."""
    most = max(asked(planner.experiment, job).gpus for job in jobs(planner.experiment))
    there = most if gpus is None else gpus
    found = timeline(planner, cores, there)
    machine = f"{cores} {'core' if cores == 1 else 'cores'}" + (f" and {there} {'GPU' if there == 1 else 'GPUs'}" if there else "")
    return f"Wall time with {machine}: {duration(found.wall)}; the longest chain of jobs that wait for one another: {duration(found.chain)}."


def _notes(planner: Planner, accelerator: str) -> list[str]:
    counts, about = planner.counts, planner.accelerator
    queries = ", ".join(f"{name} {number:,}" for name, number in counts.queries.items())
    lines = [
        f"{counts.passages:,} passages of {counts.words:.0f} words; queries: {queries} (from {counts.source}).",
        f"CPU time is that of one core (core-hours) of: {planner.costs.machine}.",
    ]
    if any(stage.accelerator for stage in planner.stages()):
        shares = f"{about.training:.0%} (training) and {about.inference:.0%} (inference)"
        lines.append(f"GPU time is that of one {accelerator}, {about.peak_tflops:g} Tflop/s at {shares}: {about.source}.")
    assumed = [*counts.assumed, *dict.fromkeys(known.assumed for known in planner.work.shapes.values() if known.assumed)]
    lines += [f"Assumed: {sentence}." for sentence in assumed]
    lines.append("Memory is the largest process's, pages of mapped files included; checkpoints need twelve bytes per weight more while a model is trained.")
    return lines
