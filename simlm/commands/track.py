"""Mirror an experiment's records, curves, metrics and small files to MLflow.

The files are the source of truth: this can be repeated at any time, also after the server was down, and changes
nothing that is already there. One run stands for the configuration, one run below it for each stage.

    simlm track --config config/config.yaml
    simlm track --experiment pydocs --strict
    simlm track --init            # only create the tables and the MLflow experiment, before parallel jobs start
"""

from __future__ import annotations

import argparse

from simlm.commands.options import add_experiment_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment_options(parser)
    parser.add_argument("--init", action="store_true", help="only prepare the store, in this one process, and stop")
    parser.add_argument("--strict", action="store_true", help="fail when MLflow cannot be reached (default: warn and go on; repeat later)")


def run(arguments: argparse.Namespace) -> int:
    from simlm.commands.options import load_context
    from simlm.errors import UserError
    from simlm.files import write_json
    from simlm.progress import say
    from simlm.tracking.identity import parent_key
    from simlm.tracking.store import store_of

    context = load_context(arguments)
    experiment, paths = context.experiment, context.paths
    store = store_of(experiment, paths.root.parent)
    try:
        if arguments.init:
            from simlm.tracking.store import exclusive, initialise

            with exclusive(store):
                initialise(store)
            say(f"MLflow is ready at {store.shown} (experiment '{store.experiment}').")
            return 0
        from simlm.tracking.mirror import mirror, summary

        done = mirror(experiment, paths, store)
    except UserError:
        raise
    except Exception as error:
        reason = store.without_password(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")[:300]
        sentence = f"MLflow at {store.shown} cannot be used ({reason}); when it is back, run simlm track --experiment {experiment.name} again"
        if arguments.strict:
            raise UserError(sentence) from error
        say(f"Warning: {sentence}. The results themselves are complete.")
        if not arguments.init:
            # A workflow that waits for this file goes on; the next replay fills it.
            write_json(paths.mirror, {"complete": False, "uri": store.shown, "experiment": store.experiment, "error": reason})
        return 0
    write_json(paths.mirror, summary(done, store, parent_key(experiment)))
    say(f"MLflow at {store.shown}: {done.written} stages written, {done.unchanged} unchanged, in {done.seconds:.1f} s.")
    say(f"`simlm ui --experiment {experiment.name}` shows them.")
    return 0
