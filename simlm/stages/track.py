"""Mirror an experiment's records, curves, metrics and small files to MLflow.

The files are the source of truth: this can be repeated at any time, also after the server was down, and changes
nothing that is already there. One run stands for the configuration, one run below it for each stage.

    simlm track --config config/config.yaml
    simlm track --experiment pydocs --strict
    simlm track --init            # only create the tables and the MLflow experiment, before parallel jobs start
"""

from __future__ import annotations

from typing import Annotated

from simlm.context import Context


def track(
    context: Context,
    init: Annotated[bool, "only prepare the store, in this one process, and stop"] = False,
    strict: Annotated[bool, "fail when MLflow cannot be reached (default: warn and go on; repeat later)"] = False,
) -> None:
    """Mirror everything that is there; the list of runs goes to ``mlflow.json``."""
    from simlm.errors import UserError
    from simlm.files import write_json
    from simlm.progress import say
    from simlm.tracking.identity import parent_key
    from simlm.tracking.owner import mirrored_before, owner_of, remember
    from simlm.tracking.store import StoreUnusable, exclusive, initialise, store_of

    experiment, paths = context.experiment, context.paths
    store = store_of(experiment, paths.root.parent)
    try:
        if init:
            with exclusive(store):
                initialise(store)
            say(f"MLflow is ready at {store.shown} (experiment '{store.experiment}').")
            return
        from simlm.tracking.mirror import mirror, summary

        context.require_belonging()
        done = mirror(experiment, paths, store)
    except Exception as error:
        if isinstance(error, UserError) and not isinstance(error, StoreUnusable):
            raise
        reason = str(error) if isinstance(error, StoreUnusable) else f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        reason = store.without_password(reason)[:300]
        sentence = f"MLflow at {store.shown} cannot be used ({reason}); when it is back, run simlm track --experiment {experiment.name} again"
        if strict:
            # Not "from error": its own words may hold the address as it is.
            raise UserError(sentence) from None
        say(f"Warning: {sentence}. The results themselves are complete.")
        if not init:
            # A workflow that waits for this file goes on; the next replay fills it. What MLflow holds since an earlier one stays named.
            owner_of(paths.root)
            failed = {"uri": store.shown, "experiment": store.experiment, "error": reason}
            write_json(paths.mirror, {**failed, **mirrored_before(paths.root), "complete": False, "failed": failed})
        return
    written = summary(done, store, parent_key(experiment))
    write_json(paths.mirror, written)
    remember(paths.root, written)
    say(f"MLflow at {store.shown}: {done.written} stages written, {done.unchanged} unchanged, in {done.seconds:.1f} s.")
    say(f"`simlm ui --experiment {experiment.name}` shows them.")
