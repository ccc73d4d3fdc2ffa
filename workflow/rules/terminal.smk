# What a user sees while it runs: lines of simlm.watching instead of Snakemake's, which stay in .snakemake/log.
# `--verbose`, `--printshellcmds`, `--quiet` and `--logger` leave Snakemake's own as they are, as a dry run does.

from snakemake.logging import logger
from snakemake.settings.enums import Quietness


def watched():
    """The handler, where this process runs jobs for somebody who looks on."""
    said = workflow.output_settings
    if workflow.exec_mode != ExecMode.DEFAULT or said.dryrun or said.verbose:
        return None
    if (
        said.printshellcmds
        or said.debug_dag
        or said.log_handler_settings
        or {
            Quietness.ALL,
            Quietness.PROGRESS,
            Quietness.RULES,
        }
        & set(said.quiet or ())
    ):
        return None
    from simlm.planning.remaining import Remaining
    from simlm.watching.terminal import Terminal, is_noise

    terminal = Terminal(
        PATHS,
        lambda: Remaining(EXPERIMENT, PATHS, *machine()),
        show_card,
        sys.stdout if said.stdout else sys.stderr,
    )
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler":
            handler.addFilter(lambda record: not is_noise(record))
    logger.addHandler(terminal)
    return terminal


def machine():
    """Cores and GPUs that the jobs may use at once; on a cluster as many as they ask for."""
    cores = (
        min(workflow.cores or 1, available_cores()) if workflow.local_exec else 10**6
    )
    return cores, int(workflow.global_resources.get("gpu").value or 0)


def show_card():
    """The table and what to do next, where the experiment has come to its end."""
    if PATHS.report.exists() and PATHS.metrics_table.exists():
        shell('simlm summary --config "$SIMLM_CONFIG" --next || true')


TERMINAL = watched()


def begin_watching():
    if TERMINAL is not None:
        jobs = {
            Path(str(job.log[0])).stem if job.log else job.rule.name: job.message
            for job in workflow._dag.needrun_jobs()
            if job.message
        }
        TERMINAL.begin(jobs, *machine())


def end_watching():
    if TERMINAL is not None:
        TERMINAL.say(f"\nDone: {TERMINAL.end()}.\n")
        show_card()


def stop_watching():
    if TERMINAL is not None:
        TERMINAL.stop()
