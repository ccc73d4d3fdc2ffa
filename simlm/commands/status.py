"""How far the running workflow of an experiment is, from any terminal: jobs done, time gone, time to go, and what the jobs that run say.

simlm status                        the default, config/config.yaml
simlm status --experiment smoke
"""

from __future__ import annotations

import argparse
import time

from simlm.commands.options import add_experiment_options, load_context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``simlm status``."""
    add_experiment_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read what the workflow has written and the ends of the logs; exits with 1 if the last workflow has failed."""
    from simlm.planning.remaining import Remaining
    from simlm.progress import span
    from simlm.watching.progress import last_line, read_progress

    context = load_context(arguments)
    progress = read_progress(context.paths)
    gone, total, done = (progress.ended or time.time()) - progress.started, len(progress.jobs), len(progress.done)
    begin = f"{context.experiment.name}: {done} of {total} jobs done, {span(gone)} gone"
    if progress.alive:
        remaining = Remaining(context.experiment, context.paths, progress.cores, progress.gpus, progress.before)
        print(f"{begin}, about {span(progress.to_go(remaining))} to go")
    elif progress.ended:
        print(f"{begin}; the workflow has {'stopped' if progress.failed else 'ended'}")
    else:
        print(f"{context.experiment.name}: {done} of {total} jobs done; the workflow was killed, and the same command goes on from there")
    for label in progress.running if progress.alive else ():
        job = progress.jobs[label]
        said = last_line(job.log)
        print(f"\n{job.what}, for {span(job.seconds)} ({job.log})" + (f"\n  {said}" if said else ""))
    for label in progress.failed:
        print(f"\n{label} failed ({progress.jobs[label].log})\n  {progress.jobs[label].failed}")
    return 1 if progress.failed else 0
