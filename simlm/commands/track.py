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
    from simlm.tracking.owner import mirrored_before, owner_of, remember
    from simlm.tracking.store import StoreUnusable, exclusive, initialise, store_of

    context = load_context(arguments)
    experiment, paths = context.experiment, context.paths
    store = store_of(experiment, paths.root.parent)
    try:
        if arguments.init:
            with exclusive(store):
                initialise(store)
            say(f"MLflow is ready at {store.shown} (experiment '{store.experiment}').")
            return 0
        from simlm.tracking.mirror import mirror, summary

        done = mirror(experiment, paths, store)
    except Exception as error:
        if isinstance(error, UserError) and not isinstance(error, StoreUnusable):
            raise
        reason = str(error) if isinstance(error, StoreUnusable) else f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        reason = store.without_password(reason)[:300]
        sentence = f"MLflow at {store.shown} cannot be used ({reason}); when it is back, run simlm track --experiment {experiment.name} again"
        if arguments.strict:
            # Not "from error": its own words may hold the address as it is.
            raise UserError(sentence) from None
        say(f"Warning: {sentence}. The results themselves are complete.")
        if not arguments.init:
            # A workflow that waits for this file goes on; the next replay fills it. What MLflow holds since an earlier one stays named.
            owner_of(paths.root)
            failed = {"uri": store.shown, "experiment": store.experiment, "error": reason}
            write_json(paths.mirror, {**failed, **mirrored_before(paths.root), "complete": False, "failed": failed})
        return 0
    written = summary(done, store, parent_key(experiment))
    write_json(paths.mirror, written)
    remember(paths.root, written)
    say(f"MLflow at {store.shown}: {done.written} stages written, {done.unchanged} unchanged, in {done.seconds:.1f} s.")
    say(f"`simlm ui --experiment {experiment.name}` shows them.")
    return 0
